"""Queries, keys and values of a layer, tapped where they are made: what signals of attention and of mixing matrices read.

Shapes: B batch, L positions, D width of queries, keys or values.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch
from stillhouse.signals.base import SignalBase

SKIP_HELP = "leading tokens left out: class token, registers"


@configclass
class QueriesConfig(SignalBase):
    """A layer of each side by the paths of its queries, keys and values; the base of signals of attention."""

    student: str | tuple[str, ...] = Field(description="student: paths")
    teacher: str | tuple[str, ...] = Field(description="teacher: paths")
    student_heads: int | None = Field(default=None, gt=0, description="attention heads of the student's layer")
    teacher_heads: int | None = Field(default=None, gt=0, description="attention heads of the teacher's layer")
    student_skip: int = Field(default=0, ge=0, description=SKIP_HELP)
    teacher_skip: int = Field(default=0, ge=0, description=SKIP_HELP)
    causal: bool = Field(default=False, description="each position sees those before it only, as in a language model")
    padding: int | None = Field(
        default=None, ge=0, description="texts: the token id that stands for nothing; left out as query and as key"
    )

    def paths(self, side: str) -> tuple[str, ...]:
        """All paths of a side: one (q, k and v side by side), or one for each of them."""
        given: str | tuple[str, ...] = getattr(self, side)
        return (given,) if isinstance(given, str) else given

    def skip(self, side: str) -> int:
        """Leading tokens of a side that are left out."""
        return self.student_skip if side == "student" else self.teacher_skip

    @property
    def between(self) -> str:
        """Both sides in short, for the name of the signal."""
        return "->".join("+".join(self.paths(side)) for side in ("student", "teacher"))

    def check_paths(self, most: int) -> None:
        """Refuse paths of which there are too many, or one twice.

        Raises:
            ValueError: with the paths.
        """
        for side in ("student", "teacher"):
            paths = self.paths(side)
            if not 1 <= len(paths) <= most or not all(paths) or len(set(paths)) < len(paths):
                raise ValueError(f"{side}: expected one path, or up to {most} different ones, got {paths}")

    def check_lengths(self, student: int, teacher: int) -> None:
        """Refuse unlike numbers of tokens.

        Raises:
            InputError: with both.
        """
        if student != teacher:
            raise InputError(
                f"{self.kind} {self.between}: expected as many tokens on both sides, got {student} and {teacher} after "
                f"student_skip {self.student_skip} and teacher_skip {self.teacher_skip}"
            )

    def read(self, side: str, parts: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, L, D) of some of `qkv`, all tokens."""
        paths = self.paths(side)
        if len(paths) == 1:
            return {part: features[paths[0]].chunk(3, dim=2)["qkv".index(part)] for part in parts}
        return {part: features[paths["qkv".index(part)]] for part in parts}

    def tokens(self, batch: Batch) -> Tensor | None:
        """(B, L) bool, where there is a token; None where no padding is named."""
        if self.padding is None:
            return None
        ids = batch.inputs
        if ids.ndim != 2 or ids.is_floating_point():
            raise InputError(f"padding: expected token ids (B, L) as inputs, got {tuple(ids.shape)} of {ids.dtype}")
        return ids != self.padding
