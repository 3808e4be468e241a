"""Selectivity from the position: deramping, the time-varying part that lets a short filter focus a long chirp.

Shapes: B batch, L length, H channels. Positions are (B, L, 2) float64: range code, azimuth line number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Deramp(nn.Module):
    """Multiplies by exp(+j pi K eta^2) before the filter and by exp(-j pi K eta^2), and a window of eta, after it.

    With eta = t - center, a filter k between the two is the time-varying k(tau) exp(j pi K tau^2) exp(-j 2 pi K eta tau):
    at eta = 0 the matched filter of a chirp of rate -K, whatever the order of k. Away from it the Doppler band moves out, so
    each channel has a center of its own in a block of lines, eta is wrapped into that block, and a learned window keeps each
    channel to its surroundings. A channel serves about one line: to focus by deramping alone takes as many as the block has.

    Args:
        channels: H.
        plain: the first so many channels stay as they are, so that the layer is also an ordinary one.
        rate: K at the start, cycles a squared line (azimuth rate over squared pulse rate).
        block: lines from a channel's center to its next one; at least the aperture.
        by_range: let the rate follow the range code; without one it is always 0.

    Example:
        What enters and leaves at once keeps its phase and is weighed by the window alone.

        >>> part = Deramp(2, rate=0.01, block=16); u = torch.ones(1, 3, 2) + 0j
        >>> places = torch.tensor([[[0.0, 4.0], [0.0, 5.0], [0.0, 12.0]]], dtype=torch.float64)
        >>> part.leave(part.enter(u, places), places).angle().abs().max().item() < 1e-6
        True

    Source: Cumming, Wong 2005, Digital Processing of SAR Data, chapter 9 (SPECAN).
    """

    def __init__(self, channels: int, *, plain: int = 0, rate: float, block: int, by_range: bool = False) -> None:
        super().__init__()
        self.plain, self.rate, self.block = plain, rate, block
        count = channels - plain
        self.center = nn.Parameter((torch.arange(count) + 0.5) * (block / count))
        self.log_width = nn.Parameter(torch.full((count,), math.log(max(1.0, block / count))))
        self.rate_change = nn.Parameter(torch.zeros(count))
        self.range_slope = nn.Parameter(torch.zeros(())) if by_range else None

    def enter(self, u: Tensor, places: Tensor) -> Tensor:
        """Deramp (B, L, H) before the filter."""
        return self._times(u, self._phasor(places)[0])

    def leave(self, y: Tensor, places: Tensor) -> Tensor:
        """Ramp (B, L, H) again after the filter, and weigh it by the window; the places of the *outputs*."""
        phasor, window = self._phasor(places)
        return self._times(y, phasor.conj() * window)

    def _times(self, x: Tensor, factor: Tensor) -> Tensor:
        """The channels from `plain` on times a factor (B, L, H - plain)."""
        turned = x[..., self.plain :] * factor.to(x.dtype)
        return turned if self.plain == 0 else torch.cat([x[..., : self.plain], turned], -1)

    def _phasor(self, places: Tensor) -> tuple[Tensor, Tensor]:
        phase, window = self.phase(places)
        return torch.complex(torch.cos(phase), torch.sin(phase)), window

    def phase(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Phases in radians and windows (B, L, H - plain), in double precision: pi K eta^2 is thousands of radians."""
        reach, line = places.double().unbind(-1)
        center, width = self.center.double(), self.log_width.double().exp()
        eta = torch.remainder(line.unsqueeze(-1) - center + self.block / 2, self.block) - self.block / 2
        change = 1 + self.rate_change.double()
        if self.range_slope is not None:
            change = change + self.range_slope.double() * reach.unsqueeze(-1)
        turns = 0.5 * self.rate * change * eta.square()
        return 2 * math.pi * (turns - turns.detach().floor()), torch.exp(-0.5 * (eta / width).square())
