"""Losses are summed in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """float32, or float64 as it is: bf16 and fp16 carry three digits, a softmax or a Gram matrix needs more."""
    return x if x.dtype == torch.float64 else x.float()
