"""Students that live in few dimensions: a teacher's vectors -> codes of 5 numbers, or of 5, 25 and 125. No torch here.

student = EmbeddingStudent.from_vectors(EmbeddingStudentConfig(), vectors)    network.py: the principal axes, to be trained
load_embedder("FOLDER")                                                     network.py: a trained one
text.py                                                                     texts -> codes, without the teacher

Codes of several levels are read as prefixes: the first 5 numbers are a code, the first 30 a finer one, all 155 the finest.
Legend: B rows, d numbers of all levels, P levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, TypeVar

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass

Codes = TypeVar("Codes")  # a tensor or an array


@configclass
class EmbeddingStudentConfig:
    """A linear map to few dimensions, which starts at the principal axes, and a small network that bends it.

    Output of the first level: `euclidean` as it comes (compare by distance; the best in our measurements), `sphere` of length 1
    (compare by cosine; one degree of freedom fewer), `tanh` in a box from -1 to 1.
    """

    kind: Literal["embedding"] = "embedding"
    levels: tuple[int, ...] = Field(
        default=(5,),
        min_length=1,
        description="numbers of each level, as 5 or 5,25,125; the first alone are a code too",
    )
    hidden: tuple[int, int] = Field(default=(512, 256), description="widths of the two hidden layers")
    normalize: bool | None = Field(
        default=None,
        description="scale the teacher's vectors to length 1 first: cosine, not length [true for vectors of length 1 and for "
        "captured texts; else false: lengths are data]",
    )
    output: Literal["euclidean", "sphere", "tanh"] = Field(
        default="euclidean", description="what the first level is: any numbers, of length 1, or in a box from -1 to 1"
    )
    axes: tuple[tuple[str, str, str], ...] = Field(
        default=(), description="name, pole at -1 and pole at +1 of each axis of the first level (with poles_file)"
    )

    def __post_init__(self) -> None:
        if min(self.levels) < 1:
            raise ValueError(f"levels: expected numbers above 0, got {self.levels}")
        if min(self.hidden) < 1:
            raise ValueError(f"hidden: expected widths above 0, got {self.hidden}")
        if self.output == "sphere" and self.levels[0] < 2:
            raise ValueError(f"output: 'sphere' in {self.levels[0]} dimension is two points; take levels of 2 or more")
        if self.axes and len(self.axes) != self.levels[0]:
            raise ValueError(
                f"axes: expected {self.levels[0]}, one for each number of the first level, got {len(self.axes)}"
            )


def widths(levels: Sequence[int]) -> tuple[int, ...]:
    """How many numbers each prefix has.

    Example:
        >>> widths((5, 25, 125))
        (5, 30, 155)
    """
    return tuple(accumulate(levels))


def prefixes(codes: Codes, levels: Sequence[int]) -> list[Codes]:
    """The codes (B, d) up to each level: P of them, the first the coarsest.

    Example:
        >>> import numpy as np
        >>> [prefix.shape for prefix in prefixes(np.zeros((2, 30)), (5, 25))]
        [(2, 5), (2, 30)]

    Source: Kusupati et al. 2022, arXiv:2205.13147 (Matryoshka).
    """
    return [codes[:, :width] for width in widths(levels)]  # type: ignore[index]


def level_weights(levels: Sequence[int], given: Sequence[float] = ()) -> tuple[float, ...]:
    """The weight of the loss at each prefix: as given, or 1, 1/2, 1/4, ...

    Raises:
        InputError: not as many as levels, or none above 0.

    Example:
        >>> level_weights((5, 25, 125))
        (1.0, 0.5, 0.25)
    """
    found = tuple(given) or tuple(0.5**number for number in range(len(levels)))
    if len(found) != len(levels) or min(found) < 0 or max(found) <= 0:
        raise InputError(f"level_weights: expected {len(levels)} numbers from 0, one a level, got {list(given)}")
    return found


def unnamed_axes(count: int) -> list[list[str]]:
    """Name, pole at -1 and pole at +1 of axes of which nothing is known.

    Example:
        >>> unnamed_axes(2)
        [['axis 1', 'low 1', 'high 1'], ['axis 2', 'low 2', 'high 2']]
    """
    return [[f"axis {n}", f"low {n}", f"high {n}"] for n in range(1, count + 1)]
