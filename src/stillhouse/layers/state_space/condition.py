"""A filter bank that follows the range of a line: its time unit by physics, its read-outs by learned polynomials.

Shapes: B lines, H channels, M complex modes.

A target at slant range R leaves a chirp of rate Ka = 2 v^2 / (wavelength R), so what focuses it has the spectrum
exp(j pi f^2 / Ka): one function of f sqrt(R) for every range. The filter of another range is the same kernel in another time unit,
sqrt(R0 / R), and a diagonal state-space layer has that unit as a parameter. What does not scale along is the band, which the
antenna fixes: the ends of the aperture move through the scaled kernel, by whole pulses. Read-outs that are polynomials of range
follow them, the finer the higher their degree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.layers.state_space.pairs import joined

DEGREE = 3  # of the polynomials, where none is chosen


@dataclass(frozen=True)
class Modulation:
    """What the filters of some lines have of their own.

    Attributes:
        log_stretch: (B, 1), log of the time unit over that in the middle of the swath.
        outputs: (B, H, M) complex, added to the read-outs.
        later_outputs: the same of the backward kernel; None where there is none.
    """

    log_stretch: Tensor
    outputs: Tensor
    later_outputs: Tensor | None


class RangeCondition(nn.Module):
    """Place across the swath (B), 0 near to 1 far -> `Modulation`; at the start it is the physics alone.

    Beyond the swath the filter of its edge is taken.

    Args:
        channels: H.
        modes: M.
        spread: by what share the range grows from near to far, over that in the middle.
        degree: of the polynomials.
        bidirectional: whether there is a backward kernel too.

    Example:
        At the start the time unit is sqrt(R0 / R) and no read-out is changed.

        >>> found = RangeCondition(2, 3, 0.3)(torch.tensor([0.0, 0.5, 1.0]))
        >>> [round(x, 4) for x in (found.log_stretch.exp() ** -2).flatten().tolist()], found.outputs.abs().max().item()
        ([0.85, 1.0, 1.15], 0.0)
    """

    def __init__(
        self, channels: int, modes: int, spread: float, *, degree: int = DEGREE, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.spread, self.degree = spread, degree
        self.stretch = nn.Parameter(torch.zeros(degree))
        self.outputs = nn.Parameter(torch.zeros(degree, channels, modes, 2))
        self.later_outputs = nn.Parameter(torch.zeros(degree, channels, modes, 2)) if bidirectional else None

    def forward(self, column: Tensor) -> Modulation:
        """The modulation of lines at these places (B)."""
        place = column.to(self.stretch.dtype).clamp(0, 1)
        basis = polynomials(place, self.degree)
        physics = -0.5 * torch.log(1 + self.spread * (place - 0.5)).unsqueeze(-1)
        return Modulation(
            physics + (basis @ self.stretch).unsqueeze(-1),
            _added(basis, self.outputs),
            None if self.later_outputs is None else _added(basis, self.later_outputs),
        )


def polynomials(place: Tensor, degree: int) -> Tensor:
    """(B, degree): Legendre polynomials of degree 1 and up of places (B) from 0 to 1, each of mean square 1 over the swath.

    Powers in their place would be almost alike from the tenth on, and no fit would keep them apart.

    Example:
        >>> polynomials(torch.tensor([1.0]), 3).square().round().tolist()
        [[3.0, 5.0, 7.0]]
    """
    x = 2 * place - 1
    found = [torch.ones_like(x), x]
    for n in range(1, degree):
        found.append(((2 * n + 1) * x * found[n] - n * found[n - 1]) / (n + 1))
    return torch.stack([(2 * n + 1) ** 0.5 * found[n] for n in range(1, degree + 1)], -1)


def _added(basis: Tensor, coefficients: Tensor) -> Tensor:
    """(B, degree) and (degree, H, M, 2) to (B, H, M) complex."""
    return joined(torch.einsum("bd,dhmp->bhmp", basis, coefficients))
