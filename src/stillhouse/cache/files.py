"""Rows of a cache on disk: shards that several processes write at once, each whole or absent, and a manifest of their hashes.

    DIR/manifest.json             what is kept of which rows, written first: what a killed or a second writer goes on with; at the
                                  end all shards with their hashes
    DIR/train-00000.logits.npy    rows of one shard and array; an ordinary .npy
    DIR/train-00000.json          size and sha256 of each file of the shard, written after them: the shard is finished
    DIR/.train-00000.claim        locked by the process that writes the shard; the kernel unlocks it when that process ends

Every file is compared with its hash before it is read. No torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from stillhouse.core import ranks
from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import PART, as_json, check_folder, read_json, read_object, write_atomically, write_json

FORMAT = "stillhouse-cache-3"
MANIFEST, CLAIM, SHA = "manifest.json", ".claim", "sha256"
SMALLEST, LARGEST, SHARDS = 2**23, 2**28, 256  # bytes of a shard, and about how many there are in between
WAIT_SECONDS = 0.2
OTHERS = {"labels": "other rows or labels (another data set, split or seed)"}  # the rest by its name
_VERIFIED: dict[tuple[str, int, int, int], str] = {}  # a file that was compared once is not read again by this process

Arrays = Mapping[str, NDArray[Any]]
Fill = Callable[[str, int, int], Iterator[Arrays]]  # part, first row, end -> its rows, a batch at a time


# ---------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Shard:
    """Some rows of a part, written by one process."""

    part: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Beginning of its files' names."""
        return f"{self.part}-{self.number:05d}"

    def file(self, array: str) -> str:
        """Of one of its arrays."""
        return f"{self.name}.{array}.npy"

    @property
    def record(self) -> str:
        """The file that says it is finished."""
        return f"{self.name}.json"


@dataclass(frozen=True)
class Plan:
    """What a cache holds.

    Attributes:
        key: what decides every byte: teacher, preprocessing, data, labels, augmentation, content; compared by name.
        parts: rows of each part ("train", "view-0", "validation").
        arrays: of each part, by name: shape of a row, and NumPy's word for its type.
        shard_rows: of each part.
        about: of the teacher, its licence, the data: shown, not compared.
    """

    key: Mapping[str, Any]
    parts: Mapping[str, int]
    arrays: Mapping[str, Mapping[str, tuple[Sequence[int], str]]]
    shard_rows: Mapping[str, int]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> list[Shard]:
        """All shards, in the order in which they are written."""
        return [
            Shard(part, number, start, min(start + self.shard_rows[part], rows))
            for part, rows in self.parts.items()
            for number, start in enumerate(range(0, rows, self.shard_rows[part]))
        ]

    def row_bytes(self, part: str) -> int:
        """Of one row of a part, without the headers of files."""
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.arrays[part].values())

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return sum(rows * self.row_bytes(part) for part, rows in self.parts.items())

    def identity(self) -> dict[str, Any]:
        """What two writers of one folder must agree on, by name."""
        return {**self.key, "parts": self.parts, "arrays": self.arrays, "shard_rows": self.shard_rows}

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
        return cls(*(found[name] for name in ("key", "parts", "arrays", "shard_rows", "about")))


def shard_bytes_of(total: int) -> int:
    """Of a cache of so many bytes: a kill costs a shard, and a folder of a million files is no good either.

    Example:
        >>> shard_bytes_of(10**6), shard_bytes_of(10**10), shard_bytes_of(10**12)
        (8388608, 39062500, 268435456)
    """
    return min(LARGEST, max(SMALLEST, total // SHARDS))


def rows_a_shard(row_bytes: int, batch: int, most: int) -> int:
    """Whole batches, so that every row is asked for beside the same others whoever writes the shard.

    Example:
        >>> rows_a_shard(row_bytes=1000, batch=64, most=1_000_000)
        960
    """
    return max(1, most // max(1, row_bytes) // batch) * batch


# ---------------------------------------------------------------------------------------------------------- writing


def write_shards(
    folder: Path,
    plan: Plan,
    fill: Fill,
    *,
    wait: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Write the shards of a plan that are not there and that no other process is writing.

    Args:
        folder: of the cache; one that was begun is continued.
        plan: what it holds.
        fill: gives the rows of a shard, batch by batch.
        wait: until other processes have finished theirs, and take over from those that end before.
        on_progress: called with (rows done, rows).

    Returns:
        Whether the whole cache is finished, whoever wrote it.

    Raises:
        InputError: the folder holds something else, or is full; rows that do not fit the plan.
    """
    while not ranks.first():  # of the processes of a run the first asks, and the others wait for it
        if (folder / MANIFEST).is_file() and begin(folder, plan):
            return True
        time.sleep(WAIT_SECONDS)
    if begin(folder, plan):
        return True
    todo = [shard for shard in plan.shards if not _finished(folder, shard)]
    total = sum(plan.parts.values())
    done = total - sum(shard.stop - shard.start for shard in todo)
    size = sum((shard.stop - shard.start) * plan.row_bytes(shard.part) for shard in todo)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CannotWrite(f"cannot write {folder}: expected {size:,} free bytes, got {free:,}; keep less (--content)")
    on_progress(done, total)
    while todo:
        busy = []
        for shard in todo:
            with _claim(folder, shard) as ours:
                if not ours:
                    busy.append(shard)
                    continue
                if not _finished(folder, shard):
                    _write_shard(folder, plan, shard, fill)
            done += shard.stop - shard.start
            on_progress(done, total)
        todo = busy
        if not wait:
            break
        if todo:
            time.sleep(WAIT_SECONDS)
    return _finish(folder, plan)


def begin(folder: Path, plan: Plan) -> bool:
    """Make the folder of a plan, or see that it is one of the same plan; returns whether it is finished.

    Raises:
        InputError: something else is there, or it cannot be written.
    """
    check_folder(folder)
    if not (folder / MANIFEST).is_file():
        if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise InputError(f"cannot write {folder}: it exists and is not a cache; take another folder")
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(plan)})
    compare(folder, as_json(Plan.read(folder / MANIFEST).identity()), plan.identity())
    return SHA in read_json(folder / MANIFEST)


def _finish(folder: Path, plan: Plan) -> bool:
    """Write the hashes into the manifest, if every shard is there; returns whether it is."""
    if missing(folder, plan):
        return False
    shards = {shard.name: _record(folder, shard) for shard in plan.shards}
    content = {"format": FORMAT, **asdict(Plan.read(folder / MANIFEST)), "shards": shards}
    write_json(folder / MANIFEST, {**content, SHA: _digest(content)})
    for shard in plan.shards:
        (folder / f".{shard.name}{CLAIM}").unlink(missing_ok=True)
    return True


def missing(folder: Path, plan: Plan) -> list[str]:
    """Names of the shards that are not there yet."""
    return [shard.name for shard in plan.shards if not _finished(folder, shard)]


def _write_shard(folder: Path, plan: Plan, shard: Shard, fill: Fill) -> None:
    pieces = list(fill(shard.part, shard.start, shard.stop))
    files = {}
    for name, (shape, kind) in plan.arrays[shard.part].items():
        rows = np.concatenate([piece[name] for piece in pieces])
        expected = (shard.stop - shard.start, *shape)
        if rows.shape != expected or rows.dtype != np.dtype(kind):
            raise InputError(
                f"cache {folder / shard.file(name)}: expected {expected} of {kind}, got {rows.shape} {rows.dtype}"
            )
        buffer = io.BytesIO()
        np.save(buffer, rows)
        raw = buffer.getbuffer()
        write_atomically(folder / shard.file(name), lambda file, raw=raw: file.write(raw))  # type: ignore[misc]
        files[name] = {"bytes": len(raw), SHA: hashlib.sha256(raw).hexdigest()}
    write_json(folder / shard.record, files)


@contextmanager
def _claim(folder: Path, shard: Shard) -> Iterator[bool]:
    """Whether the shard is ours to write while this is open."""
    lock = FileLock(folder / f".{shard.name}{CLAIM}", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise CannotWrite(f"cannot write {lock.lock_file}: {error.strerror}") from None
    try:
        for left in folder.glob(f".{shard.name}.*{PART}"):  # of a writer that was killed
            left.unlink(missing_ok=True)
        yield True
    finally:
        lock.release()


def _finished(folder: Path, shard: Shard) -> bool:
    """Whether its record is there, and its files are as long as that says; what a disk has torn is written again."""
    if not (folder / shard.record).is_file():
        return False
    try:
        files = _record(folder, shard).items()
        return all((folder / shard.file(name)).stat().st_size == about["bytes"] for name, about in files)
    except FileNotFoundError:
        return False


def _record(folder: Path, shard: Shard) -> dict[str, Any]:
    return read_object(folder / shard.record, {})


def compare(folder: Path, got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise InputError where a cache is not of what it is expected to be of; only what is named is compared."""
    for name, want in as_json(expected).items():
        if got.get(name) != want:
            what = OTHERS.get(name, f"another {name}")
            raise InputError(
                f"cache {folder}: it is of {what}: expected {_short(want)}, got {_short(got.get(name))}; take another folder"
            )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:60]}..." if len(text) > 66 else text


# ---------------------------------------------------------------------------------------------------------- reading


class Store:
    """A finished cache, its hashes compared, its arrays mapped.

    Args:
        folder: that writers filled.

    Raises:
        InputError: no cache there, an unfinished one, or a file that was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser()
        self.plan, shards = read_manifest(self.folder)
        files = [
            (self.folder / s.file(name), about[SHA]) for s in self.plan.shards for name, about in shards[s.name].items()
        ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: verify_file(*one), files))
        self._maps: dict[str, NDArray[Any]] = {}

    def read(self, part: str, array: str, rows: NDArray[Any]) -> NDArray[Any]:
        """(B, ...) rows of a part, in the order asked for."""
        at = np.asarray(rows, np.int64)
        size = self.plan.shard_rows[part]
        shape, kind = self.plan.arrays[part][array]
        if len(at) and (at.min() < 0 or at.max() >= self.plan.parts[part]):
            raise InputError(
                f"cache {self.folder}: expected rows 0 to {self.plan.parts[part] - 1} of {part}, got {at.min()} to "
                f"{at.max()}"
            )
        found = np.empty((len(at), *shape), kind)
        for number in np.unique(at // size):
            here = at // size == number
            found[here] = self._map(part, int(number), array)[at[here] - number * size]
        return found

    def _map(self, part: str, number: int, array: str) -> NDArray[Any]:
        name = Shard(part, number, 0, 0).file(array)
        if name not in self._maps:
            self._maps[name] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        return self._maps[name]


def read_manifest(folder: Path) -> tuple[Plan, dict[str, dict[str, dict[str, Any]]]]:
    """The plan of a finished cache, and its files by shard and array; nothing else is read.

    Raises:
        InputError: none there, not finished, or changed after it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"cache {folder}: there is none; write it with `stillhouse cache RECIPE --out {folder}`")
    plan, found = Plan.read(path), read_json(path)
    if SHA not in found:
        done = len(plan.shards) - len(missing(folder, plan))
        raise InputError(f"cache {folder}: {done} of {len(plan.shards)} shards are done; go on with `stillhouse cache`")
    if found[SHA] != _digest({name: value for name, value in found.items() if name != SHA}):
        raise InputError(f"{path} was changed after it was written; delete the cache and write it again")
    return plan, found["shards"]


def verify_file(path: Path, expected: str | None) -> None:
    """Raise InputError unless a file has a SHA-256; read once a process."""
    try:
        now = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    stamp = (str(path.resolve()), now.st_ino, now.st_size, now.st_mtime_ns)
    if stamp not in _VERIFIED:
        _VERIFIED[stamp] = sha256_of(path)
    if _VERIFIED[stamp] != expected:
        raise InputError(
            f"{path} was changed after it was written: expected sha256 {expected}, got {_VERIFIED[stamp]}; delete the cache "
            "and write it again"
        )


def sha256_of_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Of values, shapes and types: labels, say."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(as_json(content), sort_keys=True).encode()).hexdigest()
