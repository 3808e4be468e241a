"""Images that are decoded when they are asked for, so that a data set may be larger than memory and disk: files, or parts of tars.

A `Streamed` stands where a tensor (N, C, H, W) uint8 of images does: rows are picked by number, in any order and by any number of
processes, so that what is seen when is decided by the seed alone, as for images in memory.

Shapes: N rows, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stillhouse.classification.data.decode import decode
from stillhouse.core.checks import InputError

SAMPLE = 2048  # rows from which pixel statistics are estimated


@dataclass(frozen=True, slots=True)
class Part:
    """Where one encoded image lies: a file, or `size` bytes of it from `start` on."""

    file: Path
    start: int = 0
    size: int | None = None

    @property
    def where(self) -> Path:
        """The file, and the place in it."""
        return self.file if self.size is None else Path(f"{self.file}@{self.start}")

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            with self.file.open("rb") as opened:
                opened.seek(self.start)
                return opened.read(-1 if self.size is None else self.size)
        except OSError as error:
            raise InputError(f"cannot read {self.file}: {error.strerror}") from None

    def decoded(self, channels: int, height: int, width: int) -> Tensor:
        """(C, H, W) uint8.

        Raises:
            InputError: it cannot be read; the message names file and place.
        """
        content = None if self.size is None else self.read()
        return torch.from_numpy(decode(self.where, channels, height, width, content=content))


class Streamed:
    """(N, C, H, W) uint8 images behind their files.

    Args:
        parts: where the encoded images lie.
        shape: (C, H, W) that each is decoded to.
        names: (N) what tells an image from others (its path below the root and its bytes), for the fingerprint.
    """

    dtype = torch.uint8

    def __init__(self, parts: Sequence[Part], shape: tuple[int, int, int], names: Sequence[str]) -> None:
        self.parts, self.names = parts, names
        self.shape = (len(parts), *shape)
        self._ahead: dict[int, Future[Tensor]] = {}

    def __len__(self) -> int:
        return len(self.parts)

    def numel(self) -> int:
        """Pixels of all images."""
        return int(np.prod(self.shape))

    def pick(self, rows: Sequence[int]) -> Streamed:
        """The images of some rows; nothing is decoded."""
        shape = (self.shape[1], self.shape[2], self.shape[3])
        return Streamed([self.parts[row] for row in rows], shape, [self.names[row] for row in rows])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """(B, C, H, W): rows of an index, decoded by several threads; those that were announced are there already."""
        rows = index.tolist()
        self.ahead(index)
        found = [self._ahead[row] for row in rows]
        for row in rows:
            self._ahead.pop(row, None)
        return torch.stack([future.result() for future in found])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        index = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        return self.index_select(0, index)

    def ahead(self, index: Tensor) -> None:
        """Begin to decode rows that will be asked for next."""
        for row in index.tolist():
            if row not in self._ahead:
                self._ahead[row] = _pool().submit(self._decoded, row)

    def sample(self) -> Tensor:
        """At most `SAMPLE` images, evenly spaced."""
        return self.index_select(0, torch.linspace(0, len(self) - 1, min(SAMPLE, len(self))).long().unique())

    def fingerprint(self) -> str:
        """SHA-256 of names and sizes of all images, in order: reading what is larger than memory for it would take hours."""
        return hashlib.sha256(("\n".join(self.names) + str(self.shape)).encode("utf-8", "surrogateescape")).hexdigest()

    def _decoded(self, row: int) -> Tensor:
        return self.parts[row].decoded(self.shape[1], self.shape[2], self.shape[3])


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="decode")
