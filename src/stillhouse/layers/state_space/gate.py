"""Selectivity from the signal itself: a gate of magnitude and *relative* phase, the same in both forms of the network.

Shapes: B batch, L length, H channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SOFT = 1e-4  # power below which a relative phase fades out, for a signal scaled to unit RMS


class PhaseGate(nn.Module):
    """Factors in (0, 2), one a channel and sample, from log(1 + |h|) and the turn since the previous sample.

    The turn is (cos, sin) of the phase difference: it has no jump at pi, as a raw angle has, and it does not see a global phase.

    Args:
        channels: H.
        hidden: width of the hidden layer; H / 4 by default, 4 at least.

    Example:
        A global phase changes nothing.

        >>> _ = torch.manual_seed(0); gate, h = PhaseGate(3), torch.randn(1, 5, 3, dtype=torch.complex64)
        >>> bool(torch.allclose(gate(h), gate(1j * h), atol=1e-6))
        True
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        width = max(4, channels // 4) if hidden is None else hidden
        self.inner = nn.Linear(3 * channels, width)
        self.outer = nn.Linear(width, channels)

    def forward(self, h: Tensor, previous: Tensor | None = None) -> Tensor:
        """Factors (B, L, H).

        Args:
            h: (B, L, H) complex.
            previous: (B, H), the sample before the first; none (zero, no turn) by default.
        """
        first = torch.zeros_like(h[:, 0]) if previous is None else previous
        turn = h * torch.cat([first.unsqueeze(1), h[:, :-1]], 1).conj()
        turn = turn / (turn.abs() + SOFT)
        return self.factors(h.abs(), turn.real, turn.imag)

    def factors(self, modulus: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """The same of |h| and the soft unit phasor of the turn, real and imaginary part."""
        features = torch.cat([torch.log1p(modulus), cosine, sine], -1)
        return 2 * torch.sigmoid(self.outer(nn.functional.gelu(self.inner(features))))
