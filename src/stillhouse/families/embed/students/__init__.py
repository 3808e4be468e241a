"""Students that live in few dimensions: a teacher's vectors -> codes of 5 numbers, or of 5, 25 and 125. No torch here.

student = EmbeddingStudent.from_vectors(EmbeddingStudentConfig(), vectors)    network.py: the principal axes, to be trained
load_embedder("FOLDER")                                                     network.py: a trained one
tree.py, axes.py                                                            codes as trees with named axes
text.py                                                                     texts -> codes, without the teacher
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass


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


__all__ = ["EmbeddingStudentConfig"]
