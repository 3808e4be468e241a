"""The axes of lines that a saved network is given: (N, L), N range bins (lines) of L azimuth samples each, wherever lines are read.

A transposed array has the right numbers in the wrong order and would be focused without a sound. Its lengths give it away: a line
shorter than an aperture holds no whole point, and as many bins as the training lines had samples are those lines, turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.saved import card_of

AXES = "(N, L): N range bins, L azimuth samples each"


@dataclass(frozen=True)
class LineAxes:
    """How long the lines are that a network learned from.

    Attributes:
        aperture: azimuth samples of one aperture; 1 where the radar is not known.
        length: azimuth samples of a training line.
    """

    aperture: int
    length: int

    @classmethod
    def of(cls, folder: Path) -> LineAxes:
        """Of a saved network, from its card.

        Raises:
            InputError: as `card_of`.
        """
        card = card_of(folder)
        return cls(2 * card["valid"][0] + 1, card["length"])

    def check(self, name: str, lines: int, samples: int) -> None:
        """Refuse an array of so many range bins and azimuth samples, where they are exchanged.

        Raises:
            InputError: it is shorter than an aperture, or has as many bins as a training line has samples.

        Example:
            >>> LineAxes(aperture=65, length=512).check("raw.npy", lines=16, samples=2000)
            >>> try:
            ...     LineAxes(aperture=65, length=512).check("raw.npy", lines=2000, samples=16)
            ... except InputError as error:
            ...     print(str(error).partition("each, ")[2])
            at least 65 (one aperture), got (2000, 16); is it transposed?
        """
        got = f"got ({lines}, {samples})"
        if samples < self.aperture:
            turned = "; is it transposed?" * (lines >= self.aperture)
            raise InputError(f"{name}: expected {AXES}, at least {self.aperture} (one aperture), {got}{turned}")
        if lines == self.length != samples and lines > 1:
            raise InputError(
                f"{name}: expected {AXES}, {got}: as many range bins as the training lines have azimuth samples; transpose it, or, "
                "if these are range bins, give them in two parts"
            )
