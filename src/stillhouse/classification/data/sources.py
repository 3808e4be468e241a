"""What every source hands over, before it is checked, split and shaped."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stillhouse.classification.data.streamed import Streamed


@dataclass(frozen=True, slots=True)
class Rows:
    """Images and their labels.

    Attributes:
        images: (N, C, H, W) uint8, or float32 in [0, 1]; or what decodes them when they are asked for.
        labels: (N,) int64.
    """

    images: Tensor | Streamed
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Loaded:
    """A data set as its source has it: the splits that it brings, None for those that must be taken from `train`."""

    name: str
    class_names: tuple[str, ...]
    train: Rows
    validation: Rows | None = None
    test: Rows | None = None
