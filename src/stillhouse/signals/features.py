"""The signal of hidden features, between networks of unlike kinds.

Shapes: B batch, N positions, D width, H W grid. Everything is brought to (B, N, D); a vector is one position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from stillhouse.checks import InputError, nearest
from stillhouse.losses import cosine_distance, mse, smooth_l1
from stillhouse.signals import FeaturesConfig, Layout
from stillhouse.types import Outputs, OutputSpec, Progress


@dataclass(frozen=True)
class _Side:
    """How one side's tensor is read: its layout, width, grid (None where tokens are no grid), leading class token."""

    name: str
    shape: tuple[int, ...]
    layout: str
    width: int
    positions: int
    grid: tuple[int, int] | None
    class_token: bool

    def tokens(self, x: Tensor) -> Tensor:
        """(B, N, D) without a class token."""
        if self.layout == "vector":
            return x.unsqueeze(1)
        if self.layout == "nchw":
            return x.flatten(2).transpose(1, 2)
        if self.layout == "nhwc":
            return x.flatten(1, 2)
        return x[:, int(self.class_token) :]


class FeatureSignal(nn.Module):
    """Distance of projected student features to teacher features; (B,) unweighted.

    Raises:
        InputError: a name that is not there, or shapes that cannot be joined; both names and shapes are printed.
    """

    def __init__(self, config: FeaturesConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight = f"features:{config.student}->{config.teacher}", config.weight
        self.distance, self.normalize, self.pool = config.distance, config.normalize, config.pool
        pooled = config.pool == "mean"
        self.ours = _side("student", config.student, student, config.student_layout, pooled)
        self.theirs = _side("teacher", config.teacher, teacher, config.teacher_layout, pooled)
        both = f"student {config.student!r} {self.ours.shape} and teacher {config.teacher!r} {self.theirs.shape}"
        if config.projector == "none" and self.ours.width != self.theirs.width:
            raise InputError(f"{both}: widths {self.ours.width} and {self.theirs.width} differ; take projector: linear")
        self.grid = None if pooled else _common_grid(self.ours, self.theirs, both)
        self.projector = (
            nn.Linear(self.ours.width, self.theirs.width) if config.projector == "linear" else nn.Identity()
        )

    def forward(self, said: Outputs, told: Outputs, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        ours = self._read(said.features[self.ours.name], self.ours)
        theirs = self._read(told.features[self.theirs.name], self.theirs).detach()
        ours = self.projector(ours)
        if self.normalize:
            ours = nn.functional.layer_norm(ours, ours.shape[-1:])
            theirs = nn.functional.layer_norm(theirs, theirs.shape[-1:])
        compare = {"mse": mse, "cosine": cosine_distance, "smooth-l1": smooth_l1}[self.distance]
        return compare(ours, theirs)

    def _read(self, x: Tensor, side: _Side) -> Tensor:
        tokens = side.tokens(x.float())
        if self.pool == "mean":
            return tokens.mean(dim=1, keepdim=True)
        if self.grid is None or self.grid == side.grid or side.grid is None:
            return tokens
        maps = tokens.transpose(1, 2).unflatten(2, side.grid)
        return nn.functional.adaptive_avg_pool2d(maps, self.grid).flatten(2).transpose(1, 2)


def _side(who: str, name: str, spec: OutputSpec, layout: Layout, pooled: bool) -> _Side:
    if name not in spec.features:
        raise InputError(f"{who} feature {name!r} is not among its outputs; {nearest(name, spec.features)}")
    shape = spec.features[name]
    kind = {1: "vector", 2: "tokens", 3: "nchw"}.get(len(shape), "") if layout == "auto" else layout
    axes = {"vector": 1, "tokens": 2, "nchw": 3, "nhwc": 3}.get(kind)
    if axes != len(shape):
        raise InputError(
            f"{who} feature {name!r}: expected (D), (N, D), (D, H, W) or (H, W, D), got {shape} read as {kind or layout}"
        )
    if kind == "nchw":
        return _Side(name, shape, kind, shape[0], shape[1] * shape[2], (shape[1], shape[2]), False)
    if kind == "nhwc":
        return _Side(name, shape, kind, shape[2], shape[0] * shape[1], (shape[0], shape[1]), False)
    if kind == "vector":
        return _Side(name, shape, kind, shape[0], 1, (1, 1), False)
    count, width = shape
    with_token = _square(count) is None and _square(count - 1) is not None and count > 1
    side = _square(count - 1 if with_token else count)
    grid = None if side is None else (side, side)
    return _Side(name, shape, kind, width, count - int(with_token), grid, with_token)


def _square(count: int) -> int | None:
    root = math.isqrt(max(count, 0))
    return root if root * root == count else None


def _common_grid(ours: _Side, theirs: _Side, both: str) -> tuple[int, int] | None:
    """The smaller grid of the two; None where the positions already agree."""
    if ours.positions == theirs.positions and (ours.grid == theirs.grid or None in (ours.grid, theirs.grid)):
        return None
    if ours.grid is None or theirs.grid is None:
        raise InputError(
            f"{both}: {ours.positions} and {theirs.positions} positions cannot be joined one by one; take pool: mean"
        )
    return (min(ours.grid[0], theirs.grid[0]), min(ours.grid[1], theirs.grid[1]))
