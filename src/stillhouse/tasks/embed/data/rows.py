"""Rows of a store as tensors: what a job reads, and what a signal compares codes with.

Legend: N rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.tasks.embed.data.vectors import VectorStore

Index = NDArray[np.int64]
MEMORY_BYTES = 1 << 30  # training vectors up to here are held in memory, more are read as they are needed
VECTOR = "vector"  # the teacher's vectors as a feature of signals


class VectorRows:
    """Some rows of a store as tensors, by position: of length 1 if asked for, in memory if they fit."""

    def __init__(self, store: VectorStore, rows: Index, *, normalize: bool, in_memory: bool | None = None) -> None:
        self.store, self.rows, self.normalize = store, np.asarray(rows, np.int64), normalize
        small = len(self.rows) * store.width * 4 <= MEMORY_BYTES
        self.held = self._read(self.rows) if (small if in_memory is None else in_memory) else None

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, positions: Index | Tensor) -> Tensor:
        """(n, D) float32 of positions 0..N - 1 in the order asked for."""
        at = torch.as_tensor(positions)
        return self.held[at] if self.held is not None else self._read(self.rows[at.numpy()])

    def _read(self, rows: Index) -> Tensor:
        x = torch.from_numpy(self.store.read(rows))
        return nn.functional.normalize(x, dim=1) if self.normalize else x


@dataclass(frozen=True)
class Poles:
    """Training rows that are known to lie at one end of an axis.

    Attributes:
        positions: (M) positions among the training rows.
        axes: (M) numbers of axes.
        signs: (M) -1 or +1.
    """

    positions: Tensor
    axes: Tensor
    signs: Tensor


class VectorTeacher:
    """The vectors themselves as a teacher: its feature `vector` is what it put out for each training row.

    Args:
        train: training rows.
        name: of the teacher.
    """

    def __init__(self, train: VectorRows, name: str) -> None:
        self.train, self.name = train, name
        self.spec = OutputSpec(0, {VECTOR: (train.store.width,)})
        self.params = 0

    def __call__(self, batch: Batch) -> Outputs:
        """The vectors (B, D) of a batch's rows."""
        vectors = self.train(batch.index).to(batch.inputs.device)
        return Outputs(vectors.new_zeros(len(vectors), 0), {VECTOR: vectors})


@dataclass(frozen=True)
class LessonRows:
    """The rows of a stage.

    Attributes:
        train: training rows.
        validation: held-out rows, of which at most `validation_rows` are scored.
        graph: (N, k) neighbors of the training rows; None draws none.
        poles: rows at known ends of axes.
    """

    train: VectorRows
    validation: VectorRows
    graph: NDArray[np.int32] | None = None
    poles: Poles | None = None
