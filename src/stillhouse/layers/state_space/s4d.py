"""A diagonal state-space layer for complex signals: one-sided complex kernel, FFT form and step form.

Shapes: B batch, L length, H channels, M complex modes. Layout (B, L, H).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.kernel import (
    complex_sequence,
    convolve,
    discretize,
    one_sided_kernel,
    real_pairs_to_complex,
)


class S4D(nn.Module):
    """One single-input single-output filter a channel: K[l] = sum_n dC_n dA_n^l, no conjugate half, so Doppler has a sign.

    A focusing filter weighs samples before *and* after its output. How far it sees ahead is a parameter:

    - `look_ahead=None`: everything. A second kernel, of the same poles, runs backwards; the layer cannot stream.
    - `look_ahead=D`: D samples. The causal filter is learned on the delayed output, y[t] = (K * u)[t + D]: past the end of the
      signal the filter reads zeros. The recurrence computes the same number D samples later: exact, with no window to cut.
    - `look_ahead=0`: causal; about half of a focusing kernel's energy is out of reach.

    Args:
        channels: H.
        modes: M, complex modes a channel.
        look_ahead: as above.
        shared_modes: one set of poles for all channels (each has its own time unit), else poles a channel.
        doppler_band: the poles' frequencies are spread over this share of the sampling rate at the start.
        memory: samples after which a mode has decayed to 1/e at the start.

    Example:
        One undamped-like mode at zero frequency sums what came: a step answers with a ramp.

        >>> layer = S4D(1, 1, memory=1e6)
        >>> _ = layer.output.data.copy_(torch.tensor([[[1.0, 0.0]]])); _ = layer.feedthrough.data.zero_()
        >>> layer(torch.ones(1, 3, 1) + 0j).real.flatten().round(decimals=4).tolist()
        [1.0, 2.0, 3.0]

    Source: Gu, Gupta, Goel, Re 2022, arXiv:2206.11893 (S4D); the kernel is theirs without 2 Re.
    """

    def __init__(
        self,
        channels: int,
        modes: int,
        *,
        look_ahead: int | None = 0,
        shared_modes: bool = True,
        doppler_band: float = 1.0,
        memory: float = 64.0,
    ) -> None:
        super().__init__()
        self.channels, self.modes, self.look_ahead = channels, modes, look_ahead
        rows = 1 if shared_modes else channels
        self.log_dt = nn.Parameter(torch.zeros(channels))
        self.log_decay = nn.Parameter(torch.full((rows, modes), -math.log(memory)))
        self.frequency = nn.Parameter(frequency_bank(rows, modes, doppler_band))
        self.output = nn.Parameter(self._unit_output(look_ahead is None))
        self.later_output = nn.Parameter(self._unit_output(True)) if look_ahead is None else None
        self.feedthrough = nn.Parameter(torch.randn(channels, 2) * math.sqrt(0.5))

    def discrete(self, later: bool = False) -> tuple[Tensor, Tensor]:
        """(dA, dC), both (H, M): all of the recurrence besides the feedthrough; `later`: of the backward kernel."""
        poles, factor = discretize(self.log_decay, self.frequency, self.log_dt)
        chosen = self.later_output if later else self.output
        assert chosen is not None, "a backward kernel is that of a bidirectional layer"
        return poles, real_pairs_to_complex(chosen) * factor

    def through(self) -> Tensor:
        """D (H) complex."""
        return real_pairs_to_complex(self.feedthrough)

    def kernel(self, length: int, *, later: bool = False) -> Tensor:
        """K (H, length); entry 0 of the backward one weighs the next sample."""
        poles, weights = self.discrete(later)
        return one_sided_kernel(weights, poles, length)

    def forward(self, u: Tensor) -> Tensor:
        """The training form: (B, L, H) complex to the same, by FFT.

        Raises:
            InputError: real numbers, or another shape.
        """
        complex_sequence("input of the state-space layer", u, self.channels)
        length, ahead = u.shape[1], self.look_ahead or 0
        back = self.kernel(length, later=True) if self.look_ahead is None else None
        kernel = self.kernel(length + ahead)
        y = convolve(u.transpose(1, 2), kernel, earlier=back, ahead=ahead)
        return y.transpose(1, 2) + self.through() * u

    def _unit_output(self, halved: bool) -> Tensor:
        """C (H, M, 2), scaled so that white input of unit power comes out with unit power on average."""
        with torch.no_grad():
            poles, factor = discretize(self.log_decay, self.frequency, self.log_dt)
            energy = (factor.abs().square() / (1 - poles.abs().square())).sum(-1)
            energy = energy * (2 if halved else 1)
            random = torch.randn(self.channels, self.modes, 2) * math.sqrt(0.5)
            return random / energy.sqrt()[:, None, None]


def frequency_bank(rows: int, modes: int, band: float) -> Tensor:
    """Centers of `modes` equal parts of the band (-pi band, pi band), (rows, modes) in radians a sample.

    Rows are staggered by a fraction of a part, so that channels with poles of their own do not start as copies.

    Example:
        >>> (frequency_bank(1, 2, 1.0) / math.pi).tolist()
        [[-0.5, 0.5]]
    """
    places = (torch.arange(modes) + 0.5) / modes
    stagger = ((torch.arange(rows) + 0.5) / rows - 0.5) / modes
    return math.pi * band * (2 * (places + stagger.unsqueeze(-1)) - 1)
