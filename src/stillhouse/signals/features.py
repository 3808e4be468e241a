"""The signal of hidden features, between networks of unlike kinds.

Shapes: B batch, N positions, D width, H W grid. Everything is brought to (B, N, D); a vector is one position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor, nn

from stillhouse.checks import InputError, nearest
from stillhouse.losses import cosine_distance, mse, smooth_l1
from stillhouse.signals.config.features import FeaturesConfig, Layout
from stillhouse.types import Batch, Outputs, OutputSpec, Progress


@dataclass(frozen=True)
class _Side:
    """How one side's tensor is read: layout, width, positions, their grid (None where tokens are no grid).

    `skip_first` leaves out a leading class token, which has no place in the image.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    width: int
    positions: int
    grid: tuple[int, int] | None
    skip_first: bool = False

    def tokens(self, x: Tensor) -> Tensor:
        """(B, N, D), without a class token that has to be skipped."""
        if self.layout == "vector":
            return x.unsqueeze(1)
        if self.layout == "nchw":
            return x.flatten(2).transpose(1, 2)
        if self.layout == "nhwc":
            return x.flatten(1, 2)
        return x[:, int(self.skip_first) :]


class FeatureSignal(nn.Module):
    """Distance of projected student features to teacher features; (B,) unweighted.

    Raises:
        InputError: a name that is not there, or shapes that cannot be joined; both names and shapes are printed.
    """

    def __init__(self, config: FeaturesConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight = f"features:{config.student}->{config.teacher}", config.weight
        self.distance, self.normalize, self.pool = config.distance, config.normalize, config.pool
        self.ours = _side("student", config.student, student, config.student_layout)
        self.theirs = _side("teacher", config.teacher, teacher, config.teacher_layout)
        both = f"student {config.student!r} {self.ours.shape} and teacher {config.teacher!r} {self.theirs.shape}"
        if config.projector == "none" and self.ours.width != self.theirs.width:
            raise InputError(f"{both}: widths {self.ours.width} and {self.theirs.width} differ; take projector: linear")
        if config.normalize and self.theirs.width == 1:
            raise InputError(f"{both}: one channel standardized over channels is always 0; take normalize: false")
        self.grid: tuple[int, int] | None = None
        if config.pool == "none":
            self.ours, self.theirs, self.grid = _join(self.ours, self.theirs, both)
        self.projector = (
            nn.Linear(self.ours.width, self.theirs.width) if config.projector == "linear" else nn.Identity()
        )

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
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


def _side(who: str, name: str, spec: OutputSpec, layout: Layout) -> _Side:
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
        return _Side(name, shape, kind, shape[0], shape[1] * shape[2], (shape[1], shape[2]))
    if kind == "nhwc":
        return _Side(name, shape, kind, shape[2], shape[0] * shape[1], (shape[0], shape[1]))
    if kind == "vector":
        return _Side(name, shape, kind, shape[0], 1, (1, 1))
    count, width = shape
    return _Side(name, shape, kind, width, count, _square(count))


def _square(count: int) -> tuple[int, int] | None:
    root = math.isqrt(count)
    return (root, root) if root * root == count and count > 0 else None


def _without_class_token(side: _Side) -> _Side:
    """Tokens that are a square grid once the first is left out; any other side as it is."""
    grid = _square(side.positions - 1)
    if side.layout != "tokens" or side.grid is not None or grid is None:
        return side
    return replace(side, positions=side.positions - 1, grid=grid, skip_first=True)


def _join(ours: _Side, theirs: _Side, both: str) -> tuple[_Side, _Side, tuple[int, int] | None]:
    """Both sides as they are read, and the grid that both are resized to; None where the positions agree already."""
    patches = (_without_class_token(ours), _without_class_token(theirs))
    for a, b in ((ours, theirs), patches):
        # the square grid of tokens is a guess, so as many positions in another grid (2 x 8 for 16) are taken to be that one
        if a.positions == b.positions and (a.grid == b.grid or "tokens" in (a.layout, b.layout)):
            return a, b, None
    a, b = patches
    if a.grid is None or b.grid is None:
        raise InputError(
            f"{both}: {a.positions} and {b.positions} positions cannot be joined one by one; take pool: mean"
        )
    return a, b, (min(a.grid[0], b.grid[0]), min(a.grid[1], b.grid[1]))
