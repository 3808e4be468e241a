"""What every split of labelled rows can do, however its rows are held.

Legend: B batch, N rows, n rows of a sample.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.core.types import Batch


class Split(ABC):
    """N labelled rows; a subclass holds them and brings the rows of an index."""

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B)."""

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order, `size` at a time; the last batch may be smaller."""
        if size < 1:
            raise InputError(f"batch size: expected at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def sample(self, count: int, seed: int = 0) -> Split:
        """At most `count` rows, every class in its share, in the order of the split; the whole split where it has no more.

        Wherever a part of a split stands for the whole, it is this one: first rows would be of the first classes.

        Example:
            >>> from stillhouse.tasks.classification.data import ImageSplit
            >>> split = ImageSplit(torch.zeros(6, 1, 2, 2), torch.tensor([0, 0, 0, 0, 1, 1]))
            >>> split.sample(3).labels.tolist(), split.sample(9) is split
            ([0, 0, 1], True)
        """
        if count >= len(self):
            return self
        return Part(self, torch.from_numpy(sample_rows(len(self), count, labels=self.labels.numpy(), seed=seed)))


class Part(Split):
    """Some rows of a split; the index of a batch names the rows of the whole one.

    Args:
        split: N rows.
        rows: (n) int64 of them.
    """

    def __init__(self, split: Any, rows: Tensor) -> None:
        self.split, self.rows, self.labels = split, rows, split.labels.index_select(0, rows)

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B) from 0 to n - 1."""
        found: Batch = self.split.batch(self.rows.index_select(0, index))
        return found
