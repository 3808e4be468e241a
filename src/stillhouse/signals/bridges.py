"""Bridges between the features of unlike networks: tensors of any kind read as (B, N, D), and two of them joined.

Shapes: B batch, T time steps, N positions, D width, H W grid, L length of a line. A vector is one position.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.losses.softened import wide
from stillhouse.signals.base import SignalBase, feature_shape

Layout = Literal[
    "auto",
    "vector",
    "tokens",
    "nchw",
    "nhwc",
    "sequence",  # (L, D), an ordered line: no grid, even where its length is a square
    "complex-tokens",
    "tbd",  # spikes, time first, before the batch
    "tbnd",
    "tbchw",
    "btd",  # time after the batch
    "btnd",
    "btchw",
]
Pool = Literal["mean", "none", "first"]
LAYOUT_HELP = (
    "axes of the {}'s output; auto: by their number (D; N D; D H W). Also nhwc (H W D), sequence (L D), complex-tokens, and "
    "spikes averaged over their time axis t: tbnd, btnd (b batch)"
)

# layout: (plain layout, place of the time axis with the batch counted)
LAYOUTS: dict[str, tuple[str, int | None]] = {
    **{plain: (plain, None) for plain in ("vector", "tokens", "nchw", "nhwc", "sequence")},
    **{"complex-tokens": ("tokens", None), "tbd": ("vector", 0), "btd": ("vector", 1)},
    **{"tbnd": ("tokens", 0), "btnd": ("tokens", 1), "tbchw": ("nchw", 0), "btchw": ("nchw", 1)},
}
AXES = {"vector": 1, "tokens": 2, "sequence": 2, "nchw": 3, "nhwc": 3}


@dataclass(frozen=True)
class Side:
    """How the tensor of one side is read as (B, N, D).

    Attributes:
        path: sub-module that puts it out.
        shape: without the first axis, as the specification has it.
        layout: vector, tokens, sequence, nchw or nhwc, once time is averaged away.
        width: D; twice as many as channels where the tensor is complex (real and imaginary parts).
        positions: N.
        grid: (H, W) of the positions; None where they are no grid.
        skip_first: leave out a leading class token, which has no place in the image.
        time: axis of time steps, batch counted; spikes are averaged over it to rates.
        is_complex: numbers are complex.

    Example:
        >>> side = Side.of("student", "body", OutputSpec(2, {"body": (4, 3, 3)}))
        >>> side.width, side.positions, tuple(side.tokens(torch.zeros(5, 4, 3, 3)).shape)
        (4, 9, (5, 9, 4))
    """

    path: str
    shape: tuple[int, ...]
    layout: str
    width: int
    positions: int
    grid: tuple[int, int] | None
    skip_first: bool = False
    time: int | None = None
    is_complex: bool = False

    @classmethod
    def of(cls, who: str, path: str, spec: OutputSpec, layout: Layout = "auto") -> Side:
        """The reader of a feature.

        Raises:
            InputError: a name that is not there, or axes that cannot be read.
        """
        shape = feature_shape(who, path, spec)
        chosen = {1: "vector", 2: "tokens", 3: "nchw"}.get(len(shape), "") if layout == "auto" else layout
        plain, time = LAYOUTS.get(chosen, ("", None))
        is_complex = chosen.startswith("complex")
        # with time first, the batch axis of the example stands where a feature's first axis would
        rest = shape if time is None else shape[1:]
        if AXES.get(plain) != len(rest) or (time is not None and len(shape) != len(rest) + 1):
            raise InputError(
                f"{who} feature {path!r}: expected (D), (N, D), (D, H, W), or a layout that names its axes, got {shape} read as "
                f"{chosen or layout}"
            )
        width, grid = {
            "vector": (rest[0], (1, 1)),
            "tokens": (rest[-1], _square(rest[0])),
            "sequence": (rest[-1], None),
            "nchw": (rest[0], rest[1:]),
            "nhwc": (rest[-1], rest[:2]),
        }[plain]
        positions = math.prod(rest) // max(1, width)
        return cls(path, shape, plain, width * (1 + is_complex), positions, grid, time=time, is_complex=is_complex)  # type: ignore[arg-type]

    def tokens(self, x: Tensor) -> Tensor:
        """(B, N, D) in float32 at least, without a class token that has to be skipped.

        Raises:
            InputError: complex numbers that the layout does not name, or the other way round; float() would drop a half.
        """
        if x.is_complex() != self.is_complex:
            asked = "complex numbers" if self.is_complex else "real numbers (complex ones want layout: complex-tokens)"
            raise InputError(f"feature {self.path!r}: expected {asked}, got {x.dtype}")
        x = x.to(torch.complex64) if self.is_complex else wide(x)
        if self.time is not None:
            x = x.mean(self.time)
        if self.layout == "vector":
            x = x.unsqueeze(1)
        elif self.layout == "nchw":
            x = x.flatten(2).transpose(1, 2)
        elif self.layout == "nhwc":
            x = x.flatten(1, 2)
        if self.is_complex:
            x = torch.view_as_real(x.resolve_conj()).flatten(2)
        return x[:, int(self.skip_first) :]

    def pooled(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, D), the mean over positions, with its gradient."""
        return self.tokens(features[self.path]).mean(1)


@dataclass(frozen=True)
class Bridge:
    """Two sides read at as many positions each.

    Attributes:
        student_side: reader of the student's tensor.
        teacher_side: reader of the teacher's.
        pool: mean, first, or none (position by position).
        size: grid that both are averaged to, the coarser one; None where the positions agree already.
    """

    student_side: Side
    teacher_side: Side
    pool: str
    size: tuple[int, int] | None = None

    @classmethod
    def between(cls, student: Side, teacher: Side, *, pool: Pool = "mean") -> Bridge:
        """Join two sides.

        Args:
            student: one side.
            teacher: the other.
            pool: mean (every position counts, a class token too); first (the class token); none (position by position: as
                many on both sides, or grids averaged to the coarser of both).

        Raises:
            InputError: positions that cannot be joined one by one; both names and shapes are printed.
        """
        whole = cls(student, teacher, pool)
        if pool == "first" and not {student.layout, teacher.layout} <= {"tokens", "vector"}:
            raise InputError(
                f"{whole}: expected tokens to take the first of, got {student.layout} and {teacher.layout}"
            )
        if pool != "none":
            return whole
        patches = (without_class_token(student), without_class_token(teacher))
        lines = ("tokens", "sequence")  # the square grid of tokens is a guess, and a line has none
        for a, b in ((student, teacher), patches):
            # so as many positions in another grid (2 x 8 for 16) are taken to be that one
            if a.positions == b.positions and (a.grid == b.grid or a.layout in lines or b.layout in lines):
                return cls(a, b, pool)
        a, b = patches
        if a.grid is None or b.grid is None:
            raise InputError(
                f"{whole}: {a.positions} and {b.positions} positions cannot be joined one by one; take pool: mean, or a relational "
                "loss, which compares samples in place of positions"
            )
        return cls(a, b, pool, (min(a.grid[0], b.grid[0]), min(a.grid[1], b.grid[1])))

    def __str__(self) -> str:
        sides = (("student", self.student_side), ("teacher", self.teacher_side))
        return " and ".join(f"{who} {side.path!r} {side.shape}" for who, side in sides)

    def student(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, N, S) of the student, with its gradient."""
        return self._read(features[self.student_side.path], self.student_side)

    def teacher(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, N, D) of the teacher, detached."""
        return self._read(features[self.teacher_side.path], self.teacher_side).detach()

    def _read(self, x: Tensor, side: Side) -> Tensor:
        tokens = side.tokens(x)
        if self.pool == "mean":
            return tokens.mean(dim=1, keepdim=True)
        if self.pool == "first":
            return tokens[:, :1]
        return self.fitted(tokens, side)

    def fitted(self, tokens: Tensor, side: Side) -> Tensor:
        """(B, N, D) of one side, as `Side.tokens` gives them, at the positions that both sides have."""
        if self.size is None or side.grid is None or self.size == side.grid:
            return tokens
        maps = tokens.transpose(1, 2).unflatten(2, side.grid)
        return nn.functional.adaptive_avg_pool2d(maps, self.size).flatten(2).transpose(1, 2)


def standardize(x: Tensor) -> Tensor:
    """Zero mean and unit variance over the last axis, so that neither loudness nor a few huge channels rule."""
    return nn.functional.layer_norm(x, x.shape[-1:])


def drawn(student: Tensor, teacher: Tensor, most: int | None, step: int) -> tuple[Tensor, Tensor]:
    """Positions as rows (R, S) and (R, D), the same of both; drawn by the step where they are many, so that resume draws alike."""
    student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
    if most is None or len(student) <= most:
        return student, teacher
    chosen = torch.randperm(len(student), generator=torch.Generator().manual_seed(step))[:most].to(student.device)
    return student[chosen], teacher[chosen]


def _square(count: int) -> tuple[int, int] | None:
    root = math.isqrt(count)
    return (root, root) if root * root == count and count > 0 else None


def without_class_token(side: Side) -> Side:
    """Tokens that are a square grid once the first is left out; any other side as it is."""
    grid = _square(side.positions - 1)
    if side.layout != "tokens" or side.grid is not None or grid is None:
        return side
    return replace(side, positions=side.positions - 1, grid=grid, skip_first=True)


@configclass
class LayoutsConfig(SignalBase):
    """How the features of two sides are read; the base of signals that join them."""

    student_layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    teacher_layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("teacher"))

    def bridge(self, paths: tuple[str, str], specs: tuple[OutputSpec, OutputSpec], *, pool: Pool = "none") -> Bridge:
        """One path of the student joined with one of the teacher.

        Raises:
            InputError: a name that is not there, or shapes that cannot be joined.
        """
        student = Side.of("student", paths[0], specs[0], self.student_layout)
        teacher = Side.of("teacher", paths[1], specs[1], self.teacher_layout)
        return Bridge.between(student, teacher, pool=pool)


@configclass
class PlacesConfig(LayoutsConfig):
    """One place of the student against one of the teacher."""

    student: str = Field(min_length=1, description="path of the student's sub-module, as blocks.1")
    teacher: str = Field(min_length=1, description="path of the teacher's sub-module, as layer3")

    @property
    def between(self) -> str:
        """Both places in short, for the name of the signal."""
        return f"{self.student}->{self.teacher}"
