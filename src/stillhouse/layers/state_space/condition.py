"""A filter bank that follows the range of a line: its time unit by physics, its read-outs by learned polynomials.

Shapes: B lines, H channels, M complex modes.

A target at slant range R leaves a chirp of rate Ka = 2 v^2 / (wavelength R), so what focuses it has the spectrum
exp(j pi f^2 / Ka): one function of f sqrt(R) for every range. The filter of another range is the same kernel in another time unit,
sqrt(R0 / R), and a diagonal state-space layer has that unit as a parameter. What does not scale along is the band, which the
antenna fixes: modes that the unit moves over its edges have to be weighed anew, smoothly with range.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.pairs import joined

DEGREE = 3  # of the polynomials; over a spread of 30 % cubics leave less than the noise


@dataclass(frozen=True)
class Modulation:
    """What the filters of some lines have of their own.

    Attributes:
        log_stretch: (B, 1), log of the time unit over that in the middle of the swath.
        modes: (B, M) complex factors of the read-out.
        later_modes: the same of the backward kernel; None where there is none.
        channels: (B, H) complex factors of the read-out.
    """

    log_stretch: Tensor
    modes: Tensor
    later_modes: Tensor | None
    channels: Tensor


class RangeCondition(nn.Module):
    """Place across the swath (B), 0 near to 1 far -> `Modulation`; at the start it is the physics alone.

    Beyond the swath the filter of its edge is taken.

    Args:
        channels: H.
        modes: M.
        spread: by what share the range grows from near to far, over that in the middle.
        bidirectional: whether there is a backward kernel too.

    Example:
        At the start the time unit is sqrt(R0 / R) and no read-out is changed.

        >>> found = RangeCondition(2, 3, 0.3)(torch.tensor([0.0, 0.5, 1.0]))
        >>> [round(x, 4) for x in (found.log_stretch.exp() ** -2).flatten().tolist()], found.modes.real.unique().tolist()
        ([0.85, 1.0, 1.15], [1.0])
    """

    def __init__(self, channels: int, modes: int, spread: float, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.spread = spread
        self.stretch = nn.Parameter(torch.zeros(DEGREE))
        self.modes = nn.Parameter(torch.zeros(DEGREE, modes, 2))
        self.later_modes = nn.Parameter(torch.zeros(DEGREE, modes, 2)) if bidirectional else None
        self.channels = nn.Parameter(torch.zeros(DEGREE, channels, 2))

    def forward(self, column: Tensor) -> Modulation:
        """The modulation of lines at these places (B)."""
        column = column.to(self.stretch.dtype).clamp(0, 1).unsqueeze(-1)
        basis = torch.cat([(2 * column - 1) ** power for power in range(1, DEGREE + 1)], -1)
        physics = -0.5 * torch.log(1 + self.spread * (column - 0.5))
        return Modulation(
            physics + (basis @ self.stretch).unsqueeze(-1),
            _factors(basis, self.modes),
            None if self.later_modes is None else _factors(basis, self.later_modes),
            _factors(basis, self.channels),
        )


def _factors(basis: Tensor, coefficients: Tensor) -> Tensor:
    """(B, DEGREE) and (DEGREE, N, 2) to (B, N) complex, 1 where the coefficients are 0."""
    return 1 + joined(torch.einsum("bd,dnp->bnp", basis, coefficients))
