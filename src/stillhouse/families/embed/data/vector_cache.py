"""Vectors of a format without random access, converted once into a .npy file beside it (or under STILLHOUSE_CACHE).

    DATA.parquet
    DATA.parquet.KEY.npy      (N, D) float32
    DATA.parquet.KEY.json     source, its size, mtime and sha256, key, shape, sha256 of the array; written last: without it, or with
                              another array beside it, all is converted again

A source with another size, or another mtime and another sha256, is converted again.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json, write_atomically, write_json

FORMAT = 2
HASH_BYTES = 1 << 22
T = TypeVar("T")


def converted(
    source: Path, key: str, rows: int, width: int, chunks: Callable[[], Iterable[np.ndarray]], *, progress: bool = True
) -> Path:
    """The .npy file of one array of a source: the one that is there, or written now, atomically.

    Args:
        source: the file that holds the vectors.
        key: which of its arrays or columns.
        rows: N.
        width: D.
        chunks: makes the iterator over (b, D) chunks in order; called only where a conversion is needed.
        progress: a bar on stderr, where that is a terminal.

    Raises:
        InputError: the chunks do not add up to N rows, or neither place can be written.
    """
    array = _home(source) / f"{source.name}.{re.sub(r'[^A-Za-z0-9_-]+', '_', key) or 'array'}.npy"
    manifest = array.with_suffix(".json")
    status = source.stat()
    facts: dict[str, Any] = {"format": FORMAT, "source": source.name, "key": key, "shape": [rows, width]}
    if array.is_file() and manifest.is_file():
        was = read_json(manifest)
        whole = isinstance(was, dict) and {**was, **facts} == was and was.get("array_sha256") == file_sha256(array)
        if whole and was.get("size") == status.st_size:
            if was.get("mtime_ns") == status.st_mtime_ns:
                return array
            if was.get("sha256") == file_sha256(source):
                write_json(manifest, {**was, "mtime_ns": status.st_mtime_ns})
                return array

    def write(target: IO[bytes]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(target, header)
        written = 0
        for chunk in tracked(
            _read(source, chunks()), rows, f"converting {source.name}", advance=len, progress=progress
        ):
            if chunk.ndim != 2 or chunk.shape[1] != width:
                raise InputError(f"{source}: {key!r}: expected rows of width {width}, got {chunk.shape}")
            with np.errstate(over="ignore"):  # infinities are found and named by the scan of the store
                target.write(np.ascontiguousarray(chunk, dtype="<f4").data)
            written += len(chunk)
        if written != rows:
            raise InputError(f"{source}: {key!r}: expected {rows} rows, got {written}")

    manifest.unlink(missing_ok=True)  # a kill between the two renames must not leave the old facts beside a new array
    write_atomically(array, write)
    facts |= {
        "array_sha256": file_sha256(array),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": file_sha256(source),
    }
    write_json(manifest, facts)
    return array


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(HASH_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def tracked(
    parts: Iterable[T], total: int, what: str, *, advance: Callable[[T], int], progress: bool = True
) -> Iterator[T]:
    """The parts as they are, with a bar on stderr that moves by `advance(part)`; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task(what, total=total)
        for part in parts:
            yield part
            bar.advance(task, advance(part))


def _read(source: Path, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The chunks; an error of a library about a damaged file becomes one of ours (an OSError would pass for a full disk)."""
    try:
        yield from chunks
    except InputError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{source}: expected a whole file, got one that cannot be read to its end: {error}") from None


def _home(source: Path) -> Path:
    if os.access(source.parent, os.W_OK):
        return source.parent
    base = Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser()
    return base / "vectors" / hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
