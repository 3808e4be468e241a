"""Spikes for the input of a matrix product: signed counts times a learned amplitude, over a learned threshold a channel.

Shapes: D channels, last; u = |x| / threshold. One level gives {-1, 0, 1}, more levels integer counts up to that number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

SHARE_UNIT = 1_000_000
"""Shares are kept as whole millionths: an average of weights copies integers and would smear a float below 1."""

ROWS_OF_RATE = 512
"""Tokens that the gradient of a firing rate is taken from: it is a mean, and half of a unit's backward pass otherwise."""


class _Spike(torch.autograd.Function):
    """counts * amplitude and the firing rate; backward windows around every threshold, as LSQ does for its steps."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        threshold: Tensor,
        amplitude: Tensor,
        levels: int,
        signed: bool,
    ) -> tuple[Tensor, Tensor]:
        ratio = x / threshold
        ctx.save_for_backward(ratio, threshold, amplitude)
        ctx.settings = levels, signed  # type: ignore[attr-defined]
        counts = _counts(ratio, levels, signed)
        return counts * amplitude, _rows(counts.abs().clamp_(max=1)).mean(0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (ratio, threshold, amplitude), (grad, grad_rate) = ctx.saved_tensors, grads  # type: ignore[attr-defined]
        levels, signed = ctx.settings  # type: ignore[attr-defined]
        grad_amplitude = _rows(_counts(ratio, levels, signed).mul_(grad)).sum(0)
        u = ratio.abs() if signed else ratio.clamp(min=-1)
        slope = _windowed(grad * (amplitude / threshold), u, levels, signed)  # d/dx: the signs of x cancel
        grad_threshold = -_rows(slope * ratio).sum(0)
        # The rate moves thresholds alone, through a window that ends nowhere: silent and saturated channels come back too.
        some = _rows(u)[:: max(1, u.numel() // u.shape[-1] // ROWS_OF_RATE)]
        near = 0.5 / (1 + (some - 1).abs()).square()
        return slope, grad_threshold - grad_rate * near.mean(0) / threshold, grad_amplitude, None, None


def _windowed(grad: Tensor, u: Tensor, levels: int, signed: bool) -> Tensor:
    """`grad` times d counts / d u of the surrogate: windows of area 1 around 1, 2, ..., levels, added up; in place.

    With floors and clamps: on a CPU, comparisons and masks take ten times as long.
    """
    below = u.floor()
    windows = (levels + 1 - below).clamp_(0, 1)  # 1 up to D + 1
    if not signed:
        windows.mul_((below + 1).clamp_(0, 1))  # 0 below 0
    if levels > 1:
        windows += (levels - below).clamp_(0, 1).mul_(below.clamp(0, 1))  # a second one between 1 and D
    return grad.mul_(windows.mul_(0.5))


def spike_counts(x: Tensor, threshold: Tensor, levels: int = 1, *, signed: bool = True) -> Tensor:
    """How many multiples of the threshold |x| reaches, at most `levels`, with the sign of x.

    Args:
        x: (..., D).
        threshold: (D,) above 0.
        levels: the largest count.
        signed: negative x count too; else they are silent.

    Returns:
        (..., D) whole numbers in the dtype of `x`; NaN stays NaN.

    Example:
        >>> x = torch.tensor([-2.5, -0.4, 1.1, 9.0])
        >>> spike_counts(x, torch.ones(4)).tolist(), spike_counts(x, torch.ones(4), 3).tolist()
        ([-1.0, -0.0, 1.0, 1.0], [-2.0, -0.0, 1.0, 3.0])

    Source: ternary: Xing et al. 2024, arXiv:2406.03287 (SpikeLM); counts: Pan et al. 2025, arXiv:2509.05276 (SpikingBrain).
    """
    return _counts(x / threshold, levels, signed)


def _counts(ratio: Tensor, levels: int, signed: bool) -> Tensor:
    """By rounding, not by `>`: that is false for NaN, and a broken network would go on with zeros."""
    return ratio.abs().floor_().clamp_(max=levels).copysign_(ratio) if signed else ratio.floor().clamp_(0, levels)


class SpikeUnit(nn.Module):
    """Dense values to spikes: `amplitude * counts`, both per channel, on their way from dense to spikes by a share.

    No statistics of the batch or of other tokens enter, so one token at a time gives the same as all at once. The threshold
    starts where a standard normal input fires at the target density, the amplitude where the error is smallest for it.

    Args:
        channels: D.
        levels: largest count; 1 is ternary.
        density: share of channels and tokens that should fire, in (0, 1).
        signed: fire at negative values too; else at positive ones only, and the dense form is relu(x)^2.

    Example:
        >>> unit = SpikeUnit(2, density=0.3173)  # beyond one standard deviation
        >>> [round(t, 3) for t in unit.threshold.tolist()], unit(torch.tensor([[0.9, -1.1]])).sign().tolist()
        ([1.0, 1.0], [[0.0, -1.0]])

    Source: thresholds and amplitudes that both learn: Esser et al. 2020, arXiv:1902.08153 (LSQ); Xing et al. 2024,
    arXiv:2406.03287 (SpikeLM).
    """

    share: Tensor

    def __init__(self, channels: int, *, levels: int = 1, density: float = 0.3, signed: bool = True) -> None:
        super().__init__()
        self.channels, self.levels, self.density, self.signed = channels, levels, density, signed
        threshold, amplitude = _normal_start(density, levels, signed)
        self.raw_threshold = nn.Parameter(torch.full((channels,), math.log(math.expm1(threshold))))
        self.amplitude = nn.Parameter(torch.full((channels,), amplitude))
        self.register_buffer("share", torch.tensor(SHARE_UNIT))
        self.rate: Tensor | None = None
        self.recording: list[Tensor] | None = None

    @property
    def threshold(self) -> Tensor:
        """(D,) above 0, in the units of the input."""
        return softplus(self.raw_threshold)

    def dense(self, x: Tensor) -> Tensor:
        """What stands in for the spikes at share 0: the value itself, or relu(x)^2 where only positive ones fire."""
        return x if self.signed else torch.relu(x).square()

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) of (..., D); keeps the firing rate (D,) of this call as `.rate`, None at share 0."""
        if self.recording is not None:
            self.recording.append(_rows(x.detach()))
        share = share_of(self.share)
        if isinstance(share, float) and share == 0:
            self.rate = None
            return self.dense(x)
        spikes, rate = _Spike.apply(x, self.threshold, self.amplitude, self.levels, self.signed)
        self.rate = rate
        if isinstance(share, float) and share == 1:
            return spikes
        return torch.lerp(self.dense(x), spikes, share)

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles leave out what belongs to the last pass: its rate hangs on that pass's graph."""
        return {**self.__dict__, "rate": None, "recording": None}

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Thresholds at the quantiles of inputs (N, D) that give the target density, amplitudes by least squares."""
        size = x.abs() if self.signed else x.clamp(min=0)
        threshold = size.float().quantile(1 - self.density, 0).clamp(min=1e-3)
        counts = spike_counts(x, threshold, self.levels, signed=self.signed)
        fitted = (counts * self.dense(x)).sum(0) / counts.square().sum(0).clamp(min=1)
        self.raw_threshold.copy_(threshold + (-(-threshold).expm1()).log())
        self.amplitude.copy_(torch.where(fitted > 0, fitted, self.amplitude))

    def penalty(self, floor: float) -> Tensor | None:
        """Squared distance of the mean rate from the target, and of channels below `floor` from it; None at share 0."""
        if self.rate is None:
            return None
        silent = torch.relu(floor - self.rate).square().mean()
        return (self.rate.mean() - self.density).square() + silent


def _rows(x: Tensor) -> Tensor:
    """(N, D) of (..., D)."""
    return x.reshape(-1, x.shape[-1])


def share_of(millionths: Tensor) -> float | Tensor:
    """A share kept as whole millionths: a number on the CPU, a tensor elsewhere, where reading it would wait for the device."""
    return millionths.item() / SHARE_UNIT if millionths.device.type == "cpu" else millionths / SHARE_UNIT


def _normal_start(density: float, levels: int, signed: bool) -> tuple[float, float]:
    """Threshold and least-squares amplitude for a standard normal input."""
    normal = torch.distributions.Normal(0.0, 1.0)
    tail = density / 2 if signed else min(density, 0.499)
    threshold = float(normal.icdf(torch.tensor(1 - tail)))
    x = torch.linspace(-6, 6, 24001, dtype=torch.float64)
    counts = spike_counts(x, torch.tensor(threshold, dtype=torch.float64), levels, signed=signed)
    mass = (-x.square() / 2).exp()
    target = x if signed else torch.relu(x).square()
    return threshold, float((mass * counts * target).sum() / (mass * counts.square()).sum())
