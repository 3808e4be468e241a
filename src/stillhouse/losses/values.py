"""Checks of the numbers in a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape


def everywhere(condition: Tensor) -> bool:
    """Whether a condition holds everywhere; under `torch.compile` it is taken for granted, not computed.

    Python's `if` on a tensor waits for the device and cuts a compiled graph in two. So inputs are checked in eager mode; a
    compiled step trusts them.

    Example:
        >>> everywhere(torch.tensor([1.0, 2.0]) > 0), everywhere(torch.tensor([1.0, -2.0]) > 0)
        (True, False)
    """
    return torch.compiler.is_compiling() or bool(condition.all())


def check_labels(labels: Tensor, batch: int, classes: int) -> None:
    """Refuse labels (B,) that are not class numbers from 0 to K - 1, and scores of a single class.

    Raises:
        InputError: what was expected, and what came.
    """
    if classes < 2:
        raise InputError(f"logits: expected at least 2 classes to take apart, got {classes}")
    same_shape("labels", tuple(labels.shape), (batch,))
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels: expected int64 class numbers, got {labels.dtype}")
    if not everywhere((labels >= 0) & (labels < classes)):
        raise InputError(
            f"labels: expected class numbers from 0 to {classes - 1}, got {labels.min().item()} to {labels.max().item()}"
        )


def wide(x: Tensor) -> Tensor:
    """float32, or float64 as it is: bf16 and fp16 carry three digits, a softmax or a Gram matrix needs more."""
    return x if x.dtype == torch.float64 else x.float()
