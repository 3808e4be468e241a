"""The task loss: cross-entropy with the labels."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.checks import InputError


def label_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of hard labels, per sample, in float32.

    Args:
        logits: (B, K).
        labels: (B,) int64.
        smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        (B,) in nats.

    Raises:
        InputError: shapes do not fit.

    Example:
        >>> import torch
        >>> [round(x, 4) for x in label_cross_entropy(torch.zeros(1, 4), torch.tensor([2])).tolist()]
        [1.3863]

    Source: Szegedy et al. 2016, arXiv:1512.00567 (label smoothing).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise InputError(f"expected logits (B, K) and labels (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
