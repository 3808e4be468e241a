"""The task loss: cross-entropy with the labels."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.losses.precision import wide


def label_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, per sample, in float32 (float64 stays).

    Args:
        logits: (B, K).
        labels: (B,) int64, or (B, K) shares of the classes (of mixed images).
        smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        (B,) in nats.

    Raises:
        InputError: shapes do not fit, labels are not whole numbers, smoothing outside [0, 1).

    Example:
        Four equal scores: ln 4 whatever the label.

        >>> import torch
        >>> [round(x, 4) for x in label_cross_entropy(torch.zeros(1, 4), torch.tensor([2])).tolist()]
        [1.3863]

    Relations:
        The supervised partner of `forward_kl`, which takes a teacher's probabilities in place of labels.

    Source: Szegedy et al. 2016, arXiv:1512.00567 (label smoothing).
    """
    if logits.ndim != 2 or labels.shape not in (logits.shape[:1], logits.shape):
        raise InputError(f"expected logits (B, K) and labels (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    if not 0.0 <= smoothing < 1.0:
        raise InputError(f"smoothing: expected a share in [0, 1), got {smoothing}")
    if labels.ndim == 2:
        if not labels.is_floating_point():
            raise InputError(f"labels (B, K): expected shares as floats, got {labels.dtype}")
        shares = labels.to(wide(logits).dtype)
        return nn.functional.cross_entropy(wide(logits), shares, reduction="none", label_smoothing=smoothing)
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels: expected int64 class numbers, got {labels.dtype}")
    return nn.functional.cross_entropy(wide(logits), labels.long(), reduction="none", label_smoothing=smoothing)
