"""One .npy file of a cache: space reserved before it is filled, hashed as it is written, compared before it is read. No torch."""

from __future__ import annotations

import errno
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
from stillhouse.core.lock import WITHOUT_LOCKS
from stillhouse.core.records import PART

SHA = "sha256"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_VERIFIED: dict[tuple[str, int, int, int], str] = {}  # a file that was compared once is not read again by this process


def bytes_of(shape: Sequence[int], kind: str) -> int:
    """Of one row of an array.

    Example:
        >>> bytes_of((128, 32), "<f2")
        8192
    """
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


def reserve(handle: int, size: int, path: Path) -> None:
    """Take `size` bytes of the disk for a file before anything is computed for it.

    Raises:
        InputError: there are not so many.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
            return
    except OSError as error:
        if error.errno in FULL:
            raise _full(path, size) from None
        if error.errno not in {*WITHOUT_LOCKS, errno.EINVAL}:
            raise CannotWrite(f"cannot write {path}: {error.strerror}") from None
    try:  # a file system that cannot reserve: zeros take the space as well
        for start in range(0, size, 2**22):
            os.pwrite(handle, bytes(min(2**22, size - start)), start)
    except OSError as error:
        raise (
            _full(path, size) if error.errno in FULL else CannotWrite(f"cannot write {path}: {error.strerror}")
        ) from None


class ArrayFile:
    """One .npy file: reserved, filled from the front, hashed as it is written, renamed when it is whole.

    Args:
        path: of the file.
        shape: of the whole array.
        kind: NumPy's word for its type.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], kind: str) -> None:
        self.path, self.shape, self.kind, self.rows = path, shape, np.dtype(kind), 0
        self.part = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}{PART}")
        self.digest, self.handle = hashlib.sha256(), -1
        self.size = 0

    def open(self) -> None:
        """Reserve the space.

        Raises:
            InputError: there is not enough.
        """
        header = _header(self.shape, self.kind)
        try:
            self.handle = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise self._fault(error) from None
        reserve(self.handle, len(header) + bytes_of(self.shape, self.kind.str), self.path)
        self._write(header)

    def append(self, rows: NDArray[Any]) -> None:
        """Write further rows.

        Raises:
            InputError: of another shape or type.
        """
        rows = np.ascontiguousarray(rows)
        if rows.dtype != self.kind or rows.shape[1:] != self.shape[1:]:
            raise InputError(
                f"cache {self.path.name}: expected rows of {self.shape[1:]} {self.kind}, got {rows.shape[1:]} {rows.dtype}"
            )
        self.rows += len(rows)
        self._write(rows.reshape(-1).view(np.uint8).data)

    def close(self) -> dict[str, Any]:
        """Give the file its name; returns its size and hash.

        Raises:
            InputError: there are fewer rows than were promised; the disk is full.
        """
        if self.rows != self.shape[0]:
            raise InputError(f"cache {self.path.name}: expected {self.shape[0]} rows, got {self.rows}")
        try:
            os.fsync(self.handle)  # where a file system finds out that it is full
            os.close(self.handle)
            self.handle = -1
            os.replace(self.part, self.path)
        except OSError as error:
            raise self._fault(error) from None
        return {"bytes": self.size, SHA: self.digest.hexdigest()}

    def abandon(self) -> None:
        """Leave nothing of an unfinished file; a finished one stays."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
        self.part.unlink(missing_ok=True)

    def _write(self, data: Any) -> None:
        self.digest.update(data)
        view = memoryview(data)
        while len(view):
            try:
                count = os.write(self.handle, view)
            except OSError as error:
                raise self._fault(error) from None
            view, self.size = view[count:], self.size + count

    def _fault(self, error: OSError) -> InputError:
        if error.errno in FULL:
            return _full(self.path, bytes_of(self.shape, self.kind.str))
        return CannotWrite(f"cannot write {self.path}: {error.strerror}")


def _header(shape: tuple[int, ...], kind: np.dtype[Any]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _full(path: Path, size: int) -> InputError:
    return CannotWrite(
        f"cannot write {path}: no space left for {size:,} bytes; nothing half-written was left, and the same command goes on "
        "once there is space"
    )


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
