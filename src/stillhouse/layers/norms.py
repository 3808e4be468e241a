"""Normalizations by name, for blocks that let the user choose."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

NormName = Literal["layernorm", "rmsnorm", "scalenorm", "ln", "rms", "scale"]


class ScaleNorm(nn.Module):
    """`g x / (|x| + eps)` with one learned length g, started at the square root of the width.

    Args:
        width: D, the last axis.
        eps: keeps a zero vector finite.

    Example:
        >>> [round(v, 4) for v in ScaleNorm(4)(torch.tensor([3.0, 0.0, 4.0, 0.0])).tolist()]
        [1.2, 0.0, 1.6, 0.0]

    Source: Nguyen & Salazar 2019, arXiv:1910.05895.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.tensor(float(width) ** 0.5))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.length * x / (x.norm(dim=-1, keepdim=True) + self.eps)


def make_norm(name: NormName, width: int) -> nn.Module:
    """A normalization of the last axis.

    Example:
        >>> type(make_norm("rms", 8)).__name__
        'RMSNorm'
    """
    if name in {"layernorm", "ln"}:
        return nn.LayerNorm(width)
    return nn.RMSNorm(width, eps=1e-6) if name in {"rmsnorm", "rms"} else ScaleNorm(width)
