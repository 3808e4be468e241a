"""Weights of three values, -1, 0 and 1 times a scale, with a straight-through gradient and a ramp from the dense ones."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-8


def ternary_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The codes and the scale of a ternary weight: scale = mean |w|, code = round(w / scale) within -1 and 1.

    Args:
        weight: (out, in).

    Returns:
        (out, in) of -1, 0 and 1, and the scale of the matrix, 0-d.

    Example:
        Mean |w| is 0.5: 0.2 is below half of it and falls silent, 0.3 does not.

        >>> codes, scale = ternary_codes(torch.tensor([[1.2, -0.3, 0.2, 0.3]]))
        >>> codes.tolist(), scale.item()
        ([[1.0, -1.0, 0.0, 1.0]], 0.5)

    Source: Ma et al. 2024, arXiv:2402.17764 (BitNet b1.58), equations 1 to 3.
    """
    scale = weight.abs().mean().clamp(min=SMALLEST_SCALE)
    return (weight / scale).clamp(-1, 1).round(), scale


def ternary_weight(weight: Tensor, share: float | Tensor = 1.0) -> Tensor:
    """A weight on its way from dense (share 0) to ternary (share 1); its gradient is that of the dense weight.

    Args:
        weight: (out, in).
        share: how much of the ternary weight, in [0, 1].

    Returns:
        (out, in) `weight + share * (codes * scale - weight)`; exactly `codes * scale` at share 1.

    Example:
        >>> w = torch.tensor([[1.2, -0.3, 0.2, 0.3]], requires_grad=True)
        >>> ternary_weight(w).tolist(), [round(v, 2) for v in ternary_weight(w, 0.5)[0].tolist()]
        ([[0.5, -0.5, 0.0, 0.5]], [0.85, -0.4, 0.1, 0.4])

    Source: straight-through: Bengio et al. 2013, arXiv:1308.3432; ternary: Ma et al. 2024, arXiv:2402.17764.
    """
    if isinstance(share, float) and share == 0:
        return weight
    with torch.no_grad():
        codes, scale = ternary_codes(weight)
        value = torch.lerp(weight, codes * scale, share)
    return value + (weight - weight.detach())
