"""Rows of a cache on disk: one file an array, to which one process at a time appends, and a manifest of their hashes.

    DIR/manifest.json       what is kept of which rows, written first; at the end with the hash of every file
    DIR/train.logits.npy    the rows of a part and array; an ordinary .npy, whose length says how many rows are there already

Every file is compared with its hash before it is read. No torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import as_json, check_folder, read_json, write_json

FORMAT = "stillhouse-cache-4"
MANIFEST, LOCK, SHA = "manifest.json", ".lock", "sha256"
OTHERS = {"labels": "other rows or labels (another data set, split or seed)"}  # the rest by its name
_VERIFIED: dict[tuple[str, int, int, int], str] = {}  # a file that was compared once is not read again by this process

Arrays = Mapping[str, NDArray[Any]]
Fill = Callable[[str, int], Iterator[Arrays]]  # part, first row -> its rows from there on, a batch at a time


@dataclass(frozen=True)
class Plan:
    """What a cache holds.

    Attributes:
        key: what decides every byte: teacher, preprocessing, data, labels, augmentation, content; compared by name.
        parts: rows of each part ("train", "view-0", "validation").
        arrays: of each part, by name: shape of a row, and NumPy's word for its type.
        batch: rows that are asked about together.
        about: of the teacher, its licence, the data: shown, not compared.
    """

    key: Mapping[str, Any]
    parts: Mapping[str, int]
    arrays: Mapping[str, Mapping[str, tuple[Sequence[int], str]]]
    batch: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)

    def row_bytes(self, part: str) -> int:
        """Of one row of a part, without the headers of files."""
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.arrays[part].values())

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return sum(rows * self.row_bytes(part) for part, rows in self.parts.items())

    def identity(self) -> dict[str, Any]:
        """What a folder must agree with to be continued, by name."""
        return {**self.key, "parts": self.parts, "arrays": self.arrays, "batch": self.batch}

    @classmethod
    def read(cls, path: Path) -> Plan:
        """From `manifest.json`, finished or not.

        Raises:
            InputError: it is none.
        """
        found = read_json(path)
        known = found.get("format") if isinstance(found, dict) else None
        if known != FORMAT:
            raise InputError(f"{path}: expected a cache of format {FORMAT!r}, got {known!r}; write it again")
        return cls(*(found[name] for name in ("key", "parts", "arrays", "batch", "about")))


def write_rows(
    folder: Path, plan: Plan, fill: Fill, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write the rows of a plan that are not there yet; another process that writes in the folder is waited for.

    Args:
        folder: of the cache; one that was begun is continued behind its last whole batch.
        plan: what it holds.
        fill: gives the rows of a part.
        on_progress: called with (rows done, rows).

    Raises:
        InputError: the folder holds something else, or is full; rows that do not fit the plan.
    """
    check_folder(folder)
    if not (folder / MANIFEST).is_file() and folder.exists() and set(os.listdir(folder)) - {LOCK}:
        raise InputError(f"cannot write {folder}: it exists and is not a cache; take another folder")
    if _agreed(folder, plan):
        return
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire()
    try:
        if not (folder / MANIFEST).is_file():
            write_json(folder / MANIFEST, {"format": FORMAT, **asdict(plan)})
        if not _agreed(folder, plan):
            _append(folder, plan, fill, on_progress)
        (folder / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()


def _agreed(folder: Path, plan: Plan) -> bool:
    """Whether a folder holds a finished cache; one of another plan is refused."""
    if not (folder / MANIFEST).is_file():
        return False
    compare(folder, as_json(Plan.read(folder / MANIFEST).identity()), plan.identity())
    return SHA in read_json(folder / MANIFEST)


def _append(folder: Path, plan: Plan, fill: Fill, on_progress: Callable[[int, int], None]) -> None:
    there = {part: rows_there(folder, plan, part) for part in plan.parts}
    done, total = sum(there.values()), sum(plan.parts.values())
    size = sum((rows - there[part]) * plan.row_bytes(part) for part, rows in plan.parts.items())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CannotWrite(f"cannot write {folder}: expected {size:,} free bytes, got {free:,}; keep less (--content)")
    on_progress(done, total)
    for part in (part for part, rows in plan.parts.items() if there[part] < rows):
        arrays = plan.arrays[part]
        with ExitStack() as stack:
            with _writing(folder):
                files = {n: stack.enter_context(_opened(folder, plan, part, n, there[part])) for n in arrays}
            for answers in fill(part, there[part]):
                for name, (shape, kind) in arrays.items():
                    rows = answers[name]
                    if rows.shape[1:] != tuple(shape) or rows.dtype != np.dtype(kind):
                        raise InputError(
                            f"cache {folder}: expected {name} {shape} of {kind}, got {rows.shape} {rows.dtype}"
                        )
                    with _writing(folder):
                        files[name].write(rows.tobytes())
                        files[name].flush()  # the number of rows is read from the lengths of the files
                done += len(rows)
                on_progress(done, total)
            with _writing(folder):
                for file in files.values():
                    os.fsync(file.fileno())
    names = [file_name(part, name) for part in plan.parts for name in plan.arrays[part]]
    hashes = {name: sha256_of(folder / name) for name in names}
    write_json(folder / MANIFEST, {"format": FORMAT, **asdict(Plan.read(folder / MANIFEST)), SHA: hashes})


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"cannot write {folder}: {error.strerror}; the same command goes on") from None


def _opened(folder: Path, plan: Plan, part: str, name: str, rows: int) -> Any:
    """A file of an array, open behind so many rows."""
    path, header = folder / file_name(part, name), _header(plan, part, name)
    path.touch()
    file = path.open("r+b")
    file.write(header)
    file.seek(len(header) + rows * _bytes(plan, part, name))
    file.truncate()
    return file


def rows_there(folder: Path, plan: Plan, part: str) -> int:
    """Rows of a part that all its files hold, in whole batches."""
    paths = {name: folder / file_name(part, name) for name in plan.arrays[part]}
    sizes = {name: path.stat().st_size if path.is_file() else 0 for name, path in paths.items()}
    found = min((size - len(_header(plan, part, n))) // max(1, _bytes(plan, part, n)) for n, size in sizes.items())
    rows = plan.parts[part]
    return rows if found >= rows else max(0, found // plan.batch * plan.batch)


def file_name(part: str, array: str) -> str:
    """Of the rows of a part."""
    return f"{part}.{array}.npy"


def _header(plan: Plan, part: str, name: str) -> bytes:
    shape, kind = plan.arrays[part][name]
    buffer = io.BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": (plan.parts[part], *shape)}
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue()


def _bytes(plan: Plan, part: str, name: str) -> int:
    shape, kind = plan.arrays[part][name]
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def compare(folder: Path, got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise InputError where a cache is not of what it is expected to be of; only what is named is compared."""
    for name, want in as_json(expected).items():
        if got.get(name) != want:
            what = OTHERS.get(name, f"another {name}")
            texts = [x if isinstance(x, str) else json.dumps(x) for x in (want, got.get(name))]
            raise InputError(
                f"cache {folder}: it is of {what}: expected {texts[0][:66]}, got {texts[1][:66]}; take another folder"
            )


class Store:
    """A finished cache, its hashes compared, its arrays mapped.

    Args:
        folder: that `write_rows` filled.

    Raises:
        InputError: no cache there, an unfinished one, or a file that was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser()
        path = self.folder / MANIFEST
        if not path.is_file():
            raise InputError(f"cache {folder}: there is none; write it with `stillhouse cache RECIPE --out {folder}`")
        self.plan, hashes = Plan.read(path), read_json(path).get(SHA)
        if hashes is None:
            done = sum(rows_there(self.folder, self.plan, part) for part in self.plan.parts)
            total = sum(self.plan.parts.values())
            raise InputError(f"cache {folder}: {done} of {total} rows are done; go on with `stillhouse cache`")
        for name, expected in hashes.items():
            verify_file(self.folder / name, expected)
        self._maps = {name: np.load(self.folder / name, mmap_mode="r", allow_pickle=False) for name in hashes}

    def read(self, part: str, array: str, rows: NDArray[Any]) -> NDArray[Any]:
        """(B, ...) rows of a part, in the order asked for."""
        return np.array(self._maps[file_name(part, array)][np.asarray(rows, np.int64)])


def verify_file(path: Path, expected: str) -> None:
    """Raise InputError unless a file has a SHA-256; read once a process."""
    try:
        now = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    stamp = (str(path.resolve()), now.st_ino, now.st_size, now.st_mtime_ns)
    if stamp not in _VERIFIED:
        _VERIFIED[stamp] = sha256_of(path)
    if _VERIFIED[stamp] != expected:
        raise InputError(f"{path} was changed after it was written; delete the cache and write it again")


def sha256_of_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Of values, shapes and types: labels, say."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
