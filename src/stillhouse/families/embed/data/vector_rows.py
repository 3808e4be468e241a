"""Rows of vectors in a file, read as they are needed.

Legend: N rows, D width. Rows are read with seek and read, not through a memory map: what was read costs no memory afterwards,
and a file that shrinks raises an error where a map would end the process (SIGBUS).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError

if TYPE_CHECKING:
    from torch import Tensor


class Part(Protocol):
    """Some rows of a store."""

    @property
    def rows(self) -> int:
        """N."""
        ...

    @property
    def width(self) -> int:
        """D."""
        ...

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows (n), ascending and each once -> (n, D)."""
        ...


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was opened."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def check(self, status: os.stat_result) -> None:
        """Raise `InputError` where the file is no longer the one that was opened."""
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise InputError(
                f"{self.path}: expected the file that was opened ({self.size} bytes), "
                f"got one that was changed since ({status.st_size} bytes)"
            )


@dataclass(frozen=True)
class FileRows:
    """Rows that lie one after the other in a file, from `offset` on."""

    stamp: Stamp
    offset: int
    dtype: str
    rows: int
    width: int
    bfloat16: bool = False  # numpy has no such type: read as uint16, the upper half of a float32

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows, ascending and each once; neighbours are one read."""
        found = np.empty((len(rows), self.width), np.dtype(self.dtype))
        raw, size = found.view(np.uint8).reshape(-1).data, self.width * found.itemsize
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        try:
            with self.stamp.path.open("rb", buffering=0) as file:
                self.stamp.check(os.fstat(file.fileno()))
                for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)]):
                    file.seek(self.offset + int(rows[start]) * size)
                    self._fill(file, raw[start * size : stop * size])
        except OSError as error:
            raise InputError(f"cannot read {self.stamp.path}: {error.strerror}") from None
        if self.bfloat16:
            return (found.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):
            return found.astype(np.float32, copy=False)

    def _fill(self, file: Any, into: memoryview) -> None:
        while into:
            count = file.readinto(into)
            if not count:
                raise InputError(f"{self.stamp.path}: expected {self.rows} rows, got a file that ends before the last")
            into = into[count:]


@dataclass(frozen=True)
class TensorRows:
    """Rows of a tensor that torch maps from its file (or holds in memory, for files of the old format)."""

    stamp: Stamp
    tensor: Tensor

    @property
    def rows(self) -> int:
        """N."""
        return int(self.tensor.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.tensor.shape[1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows, copied out of the map."""
        import torch

        try:
            self.stamp.check(self.stamp.path.stat())
        except OSError as error:
            raise InputError(f"cannot read {self.stamp.path}: {error.strerror}") from None
        found: NDArray[np.float32] = self.tensor[torch.from_numpy(rows)].float().numpy()
        return found
