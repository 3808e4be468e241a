"""Normalizations: of tokens by name, for blocks that let the user choose, and of pixels as a part of the network."""

from __future__ import annotations

from collections.abc import Sequence
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


class Normalized(nn.Module):
    """A network behind the normalization of its pixels.

    Args:
        network: normalized (B, C, H, W) -> logits (B, K).
        mean: (C) pixel mean in [0, 1].
        std: (C) pixel deviation.

    Example:
        >>> Normalized(nn.Flatten(), (0.5,), (0.25,))(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels (B, C, H, W) in [0, 1]."""
        return self.network((pixels - self.mean) / self.std)
