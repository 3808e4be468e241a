"""The include threshold of a bank: fixed, learned, averaged over steps, or set by a schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError


class Tau(nn.Module):
    """tau in (0, 1), kept in the state dict, so that a scheduled or learned one reloads exactly.

    A learned tau is `low + (high - low) sigmoid(a)`. Its gradient comes from the masks `1[p > tau]`, whose surrogate is
    `p - tau`: raising tau excludes literals. With `ema` the masks use a moving average over training steps
    (`advance` takes one step), and the gradient still goes to tau itself.

    Args:
        value: tau at the start.
        learnable: whether it is a parameter.
        low: lower bound of a learned tau.
        high: upper bound of a learned tau.
        ema: memory of the average, in (0, 1); None for no average.

    Example:
        >>> tau = Tau(0.5, ema=0.9)
        >>> tau.set(0.6); tau.advance(); round(tau().item(), 4)
        0.51
    """

    def __init__(
        self, value: float, *, learnable: bool = False, low: float = 0.05, high: float = 0.95, ema: float | None = None
    ) -> None:
        super().__init__()
        if not 0.0 < value < 1.0:
            raise InputError(f"tau: expected a number in (0, 1), got {value}")
        self.start, self.low, self.high, self.ema = value, low, high, ema
        self.value: Tensor
        self.average: Tensor
        self.raw = nn.Parameter(torch.tensor(self._unbounded(value))) if learnable else None
        if not learnable:
            self.register_buffer("value", torch.tensor(value))
        if ema is not None:
            self.register_buffer("average", torch.tensor(value))

    def now(self) -> Tensor:
        """0-d: tau of this step, before any average."""
        if self.raw is None:
            return self.value
        return self.low + (self.high - self.low) * torch.sigmoid(self.raw)

    def forward(self) -> Tensor:
        """0-d: what masks are compared with; its gradient is that of `now`."""
        now = self.now()
        return now if self.ema is None else self.average + (now - now.detach())

    @torch.no_grad()
    def advance(self) -> None:
        """One step of the average; a model calls it once a training step."""
        if self.ema is not None:
            self.average.lerp_(self.now(), 1 - self.ema)

    @torch.no_grad()
    def set(self, value: float) -> None:
        """Put tau at a value (a schedule does); an average follows it slowly.

        Raises:
            InputError: outside the bounds.
        """
        low, high = (0.0, 1.0) if self.raw is None else (self.low, self.high)
        if not low < value < high:
            raise InputError(f"tau: expected a number in ({low:g}, {high:g}), got {value}")
        if self.raw is None:
            self.value.fill_(value)
        else:
            self.raw.fill_(self._unbounded(value))

    def _unbounded(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        share = min(max(share, 1e-4), 1 - 1e-4)
        return math.log(share / (1 - share))
