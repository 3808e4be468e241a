"""One .npy file of a cache: space is taken before it is filled, it is hashed on the way, compared before it is read. No torch."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import PART, open_mapped

SHA = "sha256"
_VERIFIED: dict[tuple[str, int, int, int], str] = {}  # a file that was compared once is not read again by this process


def bytes_of(shape: Sequence[int], kind: str) -> int:
    """Of one row of an array.

    Example:
        >>> bytes_of((128, 32), "<f2")
        8192
    """
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


class ArrayFile:
    """One .npy file: its space taken first, filled from the front, hashed as it is filled, renamed when it is whole.

    Args:
        path: of the file.
        shape: of the whole array.
        kind: NumPy's word for its type.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], kind: str) -> None:
        self.path, self.shape, self.kind, self.rows = path, shape, np.dtype(kind), 0
        self.part = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}{PART}")
        self.digest = hashlib.sha256()

    def open(self) -> None:
        """Take the space.

        Raises:
            InputError: there is not enough.
        """
        self.array: Any = open_mapped(self.part, self.kind, self.shape)
        with self.part.open("rb") as file:
            self.digest.update(file.read(self.part.stat().st_size - self.array.nbytes))  # the header

    def append(self, rows: NDArray[Any]) -> None:
        """Write further rows.

        Raises:
            InputError: of another shape or type.
        """
        if rows.dtype != self.kind or rows.shape[1:] != self.shape[1:]:
            raise InputError(
                f"cache {self.path.name}: expected rows of {self.shape[1:]} {self.kind}, got {rows.shape[1:]} {rows.dtype}"
            )
        self.array[self.rows : self.rows + len(rows)] = rows
        self.digest.update(np.ascontiguousarray(rows).tobytes())
        self.rows += len(rows)

    def close(self) -> dict[str, Any]:
        """Give the file its name; returns its size and hash.

        Raises:
            InputError: there are other rows than were promised; the disk is full.
        """
        if self.rows != self.shape[0]:
            raise InputError(f"cache {self.path.name}: expected {self.shape[0]} rows, got {self.rows}")
        try:
            self.array.flush()
            with self.part.open("rb") as file:
                os.fsync(file.fileno())  # where a file system finds out that it is full
                size = os.fstat(file.fileno()).st_size
            os.replace(self.part, self.path)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror}; the same command goes on") from None
        return {"bytes": size, SHA: self.digest.hexdigest()}

    def abandon(self) -> None:
        """Leave nothing of an unfinished file; a finished one stays."""
        self.array = None
        self.part.unlink(missing_ok=True)


def verify_file(path: Path, about: Mapping[str, Any]) -> None:
    """Raise InputError unless a file is what was written; read once a process."""
    try:
        now = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    stamp = (str(path.resolve()), now.st_ino, now.st_size, now.st_mtime_ns)
    if stamp not in _VERIFIED:
        _VERIFIED[stamp] = sha256_of(path)
    if _VERIFIED[stamp] != about[SHA]:
        raise InputError(
            f"{path} was changed after it was written: expected sha256 {about[SHA]}, got {_VERIFIED[stamp]}; delete the cache "
            "and write it again"
        )


def sha256_of_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Of values, shapes and types: labels, say."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
