"""A tapped feature as one vector a sample, whatever its axes.

Shapes: B batch, N positions, D width, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import OutputSpec
from stillhouse.losses.precision import wide

Layout = Literal["auto", "vector", "tokens", "nchw", "nhwc"]
POSITIONS = {"vector": (), "tokens": (1,), "nchw": (2, 3), "nhwc": (1, 2)}  # axes that are averaged, batch first
WIDTH = {"vector": 0, "tokens": 1, "nchw": 0, "nhwc": 2}  # axis of the channels, without the batch


@dataclass(frozen=True)
class Pooled:
    """Reads one feature and averages over its positions: (D), (N, D), (D, H, W) or (H, W, D) become (D).

    Example:
        >>> import torch
        >>> read = Pooled.of("body", OutputSpec(2, {"body": (4, 3, 3)}))
        >>> read.width, tuple(read({"body": torch.zeros(5, 4, 3, 3)}).shape)
        (4, (5, 4))
    """

    path: str
    layout: str
    width: int

    @classmethod
    def of(cls, path: str, spec: OutputSpec, layout: Layout = "auto", *, who: str = "student") -> Pooled:
        """The reader of a feature.

        Raises:
            InputError: a name that is not there, or axes that cannot be read.
        """
        if path not in spec.features:
            raise InputError(f"{who} feature {path!r} is not among its outputs; {nearest(path, spec.features)}")
        shape = spec.features[path]
        kind = {1: "vector", 2: "tokens", 3: "nchw"}.get(len(shape), "") if layout == "auto" else str(layout)
        if len(POSITIONS.get(kind, ())) + 1 != len(shape):
            raise InputError(
                f"{who} feature {path!r}: expected (D), (N, D), (D, H, W) or (H, W, D), got {shape} read as {kind or layout}"
            )
        return cls(path, kind, shape[WIDTH[kind]])

    def __call__(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, D) in float32 at least, with its gradient."""
        x = wide(features[self.path])
        axes = POSITIONS[self.layout]
        return x.mean(axes) if axes else x
