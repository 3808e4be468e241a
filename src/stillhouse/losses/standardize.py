"""Logits of one mean and one spread, so that a divergence compares their pattern alone. Shapes: B batch, K classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.precision import wide


def standardize_logits(logits: Tensor) -> Tensor:
    """Subtract each row's mean and divide by its standard deviation over classes: (z - mean) / std.

    A softmax does not see the mean, but it sees the spread: a small student is asked to be as loud as its teacher, which
    carries nothing on classes. Apply it to both sides before any divergence; the temperature then alone sets how soft targets are.

    Args:
        logits: (B, K); a class at -inf stays there and counts neither in the mean nor in the spread.

    Returns:
        (B, K) in float32 at least, rows of mean 0 and standard deviation 1 (divided by K, not K - 1). A row of equal logits
        has no pattern: it gives zeros.

    Raises:
        InputError: not (B, K).

    Example:
        Mean 2, standard deviation 2.

        >>> standardize_logits(torch.tensor([[0.0, 4.0, 0.0, 4.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Relations:
        `mse_logits` of standardized logits is twice the `pearson_distance` of the logits.

    Source: Sun et al. 2024, arXiv:2403.01427 (base temperature 2 there, with 9 as weight of the loss).
    """
    if logits.ndim != 2:
        raise InputError(f"logits: expected (B, K), got {tuple(logits.shape)}")
    z = wide(logits)
    ruled_out = z == -math.inf
    count = (~ruled_out).sum(dim=1, keepdim=True).clamp(min=1)
    centered = (z - z.masked_fill(ruled_out, 0.0).sum(dim=1, keepdim=True) / count).masked_fill(ruled_out, 0.0)
    variance = centered.square().sum(dim=1, keepdim=True) / count
    # the mean of equal numbers is off by a rounding error, which must not be blown up to a spread of 1
    largest = z.detach().masked_fill(ruled_out, 0.0).abs().amax(dim=1, keepdim=True)
    flat = variance <= (4 * torch.finfo(z.dtype).eps * largest).square()
    standard = centered / torch.where(flat, 1.0, variance).sqrt()
    return torch.where(flat, centered - centered.detach(), standard).masked_fill(ruled_out, -math.inf)
