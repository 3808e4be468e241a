"""The matrix by which a layer mixes its tokens, as a place that can be tapped."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Mixing(nn.Module):
    """Puts out a layer's mixing matrix (B, H, L, L) while somebody listens, and costs nothing else: no layer needs it itself.

    A layer that mixes tokens linearly has one in `mixing` and calls `self.mixing.offer(make)` in its forward pass; a signal
    that taps the path `....mixing` then finds y = M x there, for the inputs of that pass.

    Example:
        >>> import torch
        >>> place, seen = Mixing(), []
        >>> place.offer(lambda: torch.eye(2))
        >>> _ = place.register_forward_hook(lambda module, given, matrix: seen.append(tuple(matrix.shape)))
        >>> place.offer(lambda: torch.eye(2)); seen
        [(2, 2)]
    """

    def offer(self, make: Callable[[], Tensor]) -> None:
        """Make the matrix if it is tapped."""
        if self._forward_hooks:
            self(make)

    def forward(self, make: Callable[[], Tensor]) -> Tensor:
        """(B, H, L, L)."""
        return make()
