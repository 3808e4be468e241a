"""Images that are decoded when they are asked for, so that a data set may be larger than memory.

A `Streamed` stands where a tensor (N, C, H, W) uint8 of images does: rows are picked by number, in any order and by any number of
processes, so that what is seen when is decided by the seed alone, as for images in memory.

Shapes: N rows, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from stillhouse.tasks.classification.data.decode import decode

T = TypeVar("T")
CHUNK = 1024  # rows that are looked at together
SAMPLE = 2048  # rows from which pixel statistics are estimated
AT_ONCE = 64  # files of which threads hold the pixels


class Streamed:
    """(N, C, H, W) uint8 images behind their files.

    Args:
        files: the encoded images.
        shape: (C, H, W) that each is decoded to.
        names: (N) what tells an image from others (its path below the root and its bytes), for the fingerprint.
    """

    dtype = torch.uint8

    def __init__(self, files: Sequence[Path], shape: Sequence[int], names: Sequence[str]) -> None:
        self.files, self.names = files, names
        self.shape = (len(files), *shape)
        self._ahead: dict[int, Future[Tensor]] = {}

    def pick(self, rows: Tensor) -> Streamed:
        """The images of some rows; nothing is decoded."""
        some = rows.tolist()
        return Streamed([self.files[row] for row in some], self.shape[1:], [self.names[row] for row in some])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """(B, C, H, W): rows of an index, decoded by several threads; those that were announced are there already."""
        rows = index.tolist()
        self.ahead(index)
        found = [self._ahead[row] for row in rows]
        for row in rows:
            self._ahead.pop(row, None)
        return torch.stack([future.result() for future in found])

    def ahead(self, index: Tensor) -> None:
        """Begin to decode rows that will be asked for next."""
        for row in index.tolist():
            if row not in self._ahead:
                self._ahead[row] = _pool().submit(self._decoded, row)

    def sample(self) -> Tensor:
        """At most `SAMPLE` images, evenly spaced."""
        count = self.shape[0]
        return self.index_select(0, torch.linspace(0, count - 1, min(SAMPLE, count)).long().unique())

    def whole(self, what: str) -> Tensor:
        """(N, C, H, W): all of them, behind a progress bar of this name."""
        images = torch.empty(self.shape, dtype=torch.uint8)
        for row, pixels in enumerate(by_threads(self._decoded, range(len(images)), what)):
            images[row] = pixels
        return images

    def fingerprint(self) -> str:
        """SHA-256 of names and sizes of all images, in order: reading what is larger than memory for it would take hours."""
        return hashlib.sha256(("\n".join(self.names) + str(self.shape)).encode("utf-8", "surrogateescape")).hexdigest()

    def _decoded(self, row: int) -> Tensor:
        return torch.from_numpy(decode(self.files[row], *self.shape[1:]))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="decode")


def by_threads(function: Callable[[Any], T], given: Sequence[Any], what: str) -> Iterator[T]:
    """`function` of each in order, a few at a time so that memory stays small, behind a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    groups = (given[start : start + AT_ONCE] for start in range(0, len(given), AT_ONCE))
    done = (result for group in groups for result in _pool().map(function, group))
    return iter(track(done, what, total=len(given), console=console, transient=True, disable=not console.is_terminal))
