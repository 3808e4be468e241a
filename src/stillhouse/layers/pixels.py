"""Pixel normalization as a part of the network, so that every network takes the same raw pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
