"""What the literals of a site are about: pixels that can be named and drawn, or bits that only examples explain.

Shapes: C channels, H W pixels, F bits of a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillhouse.tasks.classification.data.boolean_features import BITS, feature_name
from stillhouse.tasks.classification.students.base import ClauseModel
from stillhouse.tasks.classification.students.core import DeepTM
from stillhouse.tasks.classification.students.flat import DeepTMClassifier, FilterBits, FlatTM, TeamCore, Thermometer
from stillhouse.tasks.classification.students.sites import ClauseModule


@dataclass(frozen=True, eq=False)
class Pixels:
    """Bits that are tests on pixels: bit (level, channel, row, column) asks whether the pixel is above `edges[level, channel]`.

    Attributes:
        edges: (levels, C) rising in the levels.
        height: H of the picture.
        width: W.
        features: whether channels are boolean features, not colours.
        square: side in pixels of the squares whose bits were joined.
    """

    edges: np.ndarray
    height: int
    width: int
    features: bool = False
    square: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Levels, channels, rows and columns of the bits."""
        levels, channels = self.edges.shape
        return levels, channels, -(-self.height // self.square), -(-self.width // self.square)

    def names(self, literals: Sequence[int]) -> list[str]:
        """Each literal in words.

        Example:
            >>> Pixels(np.array([[0.5]]), 2, 2).names([1, 6])
            ['pixel (0, 1) above 0.5', 'pixel (1, 0) not above 0.5']
        """
        _, channels, _, _ = shape = self.shape
        count, found = int(np.prod(shape)), []
        for literal in literals:
            level, channel, row, column = np.unravel_index(literal % count, shape)
            of = "" if channels == 1 else f" of channel {channel}"
            negated = "not " if literal >= count else ""
            if self.features:
                test = f"{negated}{feature_name(int(channel), channels)}"
                where = f"at ({row * self.square}, {column * self.square})"
                around = "" if self.square == 1 else f" {self.square} x {self.square}"
                found.append(f"{where}{around} {test}")
            else:
                found.append(f"pixel ({row}, {column}){of} {negated}above {self.edges[level, channel]:.2g}")
        return found

    def pictures(self, literals: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 each: how bright a pixel must be (255: above the highest level), and how dark (255: not above the lowest).

        0 is ignored. Of several channels the strictest literal counts.

        Example:
            Three levels: above the second of three, and not above the first:

            >>> wanted, unwanted = Pixels(np.array([[0.25], [0.5], [0.75]]), 1, 2).pictures([2, 6 + 1])
            >>> wanted.tolist(), unwanted.tolist()
            ([[170, 0]], [[0, 255]])
        """
        levels, *_ = shape = self.shape
        count = int(np.prod(shape))
        asked = np.zeros((2, *shape))
        for literal in literals:
            asked[int(literal >= count)].flat[literal % count] = 1
        rank = np.arange(1, levels + 1).reshape(levels, 1, 1, 1) / levels
        wanted, unwanted = (asked[0] * rank).max((0, 1)), (asked[1] * rank[::-1]).max((0, 1))
        whole = np.ones((self.square, self.square))
        wanted, unwanted = (np.kron(a, whole)[: self.height, : self.width] for a in (wanted, unwanted))
        return np.rint(255 * wanted).astype(np.uint8), np.rint(255 * unwanted).astype(np.uint8)


def pixels_of(model: ClauseModel, site: ClauseModule) -> Pixels | None:
    """How the bits of a site are pixels; None where they are none."""
    channels, height, width = model.image_shape
    if isinstance(model, FlatTM) and isinstance(model.bits, FilterBits):
        if not isinstance(model.core, (TeamCore, DeepTM)):
            return None
        return Pixels(np.zeros((1, BITS * channels)), height, width, features=True, square=model.bits.square)
    if isinstance(model, (FlatTM, DeepTMClassifier)):
        levels = model.config.levels
        if site.bank.num_bits != levels * channels * height * width or site.bank is not next(model.banks()):
            return None
        assert isinstance(model.bits, Thermometer)
        edges = model.bits.edges.reshape(levels, 1).expand(levels, channels).numpy()
        return Pixels(edges, height, width, features=levels == 1 and channels % BITS == 0)
    return None
