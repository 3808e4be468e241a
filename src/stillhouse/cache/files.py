"""Rows of a cache on disk: shards that several processes write at once, each whole or absent, and a manifest of their hashes.

    DIR/plan.json                 what is kept of which rows, written first: what a killed or a second writer goes on with
    DIR/train-00000.logits.npy    rows of one shard and array; an ordinary .npy
    DIR/train-00000.json          sha256 of each file of the shard, written after them: the shard is finished
    DIR/.train-00000.claim        locked by the process that writes the shard; the kernel unlocks it when that process ends
    DIR/manifest.json             plan and all shards with their hashes, written when every shard is there

Space is taken before a row is asked for, so a full disk is an error with a name. Every file is compared with its hash before it is
read. No torch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from stillhouse.cache.array_file import SHA, ArrayFile, verify_file
from stillhouse.cache.plan import Plan, Shard
from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.lock import WITHOUT_LOCKS
from stillhouse.core.records import PART, as_json, check_folder, check_object, read_json, read_object, write_json

PLAN, MANIFEST, CLAIM = "plan.json", "manifest.json", ".claim"
WAIT_SECONDS = 0.2
OTHERS = {"labels": "other rows or labels (another data set, split or seed)"}  # the rest by its name

Arrays = Mapping[str, NDArray[Any]]
Fill = Callable[[str, int, int], Iterator[Arrays]]  # part, first row, end -> its rows, a batch at a time


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
    begin(folder, plan)
    if (folder / MANIFEST).is_file():
        _same_plan(folder, Plan.read(folder / MANIFEST), plan)
        return True
    total = sum(plan.parts.values())
    todo = [shard for shard in plan.shards if not _finished(folder, shard)]
    done = total - sum(shard.stop - shard.start for shard in todo)
    _check_space(folder, sum((shard.stop - shard.start) * plan.row_bytes(shard.part) for shard in todo))
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
    return finish(folder, plan)


def begin(folder: Path, plan: Plan) -> None:
    """Make the folder of a plan, or see that it is one of the same plan.

    Raises:
        InputError: something else is there, or it cannot be written.
    """
    check_folder(folder)
    if not (folder / PLAN).is_file() and (folder / MANIFEST).is_file():  # deleted; the manifest has all of it
        write_json(folder / PLAN, read_manifest(folder)[0].to_mapping())
    if not (folder / PLAN).is_file():
        if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise InputError(f"cannot write {folder}: it exists and is not a cache; take another folder")
        write_json(folder / PLAN, plan.to_mapping())
    _same_plan(folder, Plan.read(folder / PLAN), plan)


def finish(folder: Path, plan: Plan) -> bool:
    """Write the manifest, if every shard is there; returns whether it is."""
    if (folder / MANIFEST).is_file():
        return True
    if not all(_finished(folder, shard) for shard in plan.shards):
        return False
    shards = {shard.name: _record(folder, shard)["files"] for shard in plan.shards}
    content = {**Plan.read(folder / PLAN).to_mapping(), "shards": shards}
    write_json(folder / MANIFEST, {**content, SHA: _digest(content)})
    for shard in plan.shards:
        (folder / f".{shard.name}{CLAIM}").unlink(missing_ok=True)
    return True


def missing(folder: Path, plan: Plan) -> list[str]:
    """Names of the shards that are not there yet."""
    return [shard.name for shard in plan.shards if not _finished(folder, shard)]


def _write_shard(folder: Path, plan: Plan, shard: Shard, fill: Fill) -> None:
    rows = shard.stop - shard.start
    outs = {
        name: ArrayFile(folder / shard.file(name), (rows, *shape), kind)
        for name, (shape, kind) in plan.arrays[shard.part].items()
    }
    try:
        for out in outs.values():
            out.open()
        for arrays in fill(shard.part, shard.start, shard.stop):
            for name, out in outs.items():
                out.append(arrays[name])
        files = {name: out.close() for name, out in outs.items()}
        write_json(folder / shard.record, {"files": files})
    finally:
        for out in outs.values():
            out.abandon()


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CannotWrite(f"cannot write {folder}: expected {size:,} free bytes, got {free:,}; keep less (--content)")


@contextmanager
def _claim(folder: Path, shard: Shard) -> Iterator[bool]:
    """Whether the shard is ours to write while this is open; where there are no locks it is everybody's, with equal bytes."""
    lock = FileLock(folder / f".{shard.name}{CLAIM}", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise CannotWrite(f"cannot write {lock.lock_file}: {error.strerror}") from None
    try:
        for left in folder.glob(f".{shard.name}.*{PART}") if lock.is_locked else ():  # of a writer that was killed
            left.unlink(missing_ok=True)
        yield True
    finally:
        lock.release()


def _finished(folder: Path, shard: Shard) -> bool:
    """Whether its record is there, and its files are as long as that says; what a disk has torn is written again."""
    if not (folder / shard.record).is_file():
        return False
    files = _record(folder, shard)["files"]
    try:
        return all((folder / shard.file(name)).stat().st_size == about["bytes"] for name, about in files.items())
    except FileNotFoundError:
        return False


def _record(folder: Path, shard: Shard) -> dict[str, Any]:
    return read_object(folder / shard.record, {"files": dict[str, dict[str, Any]]})


def _same_plan(folder: Path, got: Plan, expected: Plan) -> None:
    """Raise InputError where two plans differ, with the name of what does."""
    compare(folder, got.key, expected.key)
    here, there = got.identity(), expected.identity()
    for name in ("parts", "arrays", "shard_rows"):
        if here[name] != there[name]:
            raise InputError(
                f"cache {folder}: it has other {name}: expected {_short(there[name])}, got {_short(here[name])}; take another "
                "folder"
            )


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
            (self.folder / s.file(name), about) for s in self.plan.shards for name, about in shards[s.name].items()
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
        shard = at // size
        if len(at) and shard[0] == shard[-1] and (shard == shard[0]).all():
            return np.asarray(self._map(part, int(shard[0]), array)[at - shard[0] * size])
        found = np.empty((len(at), *shape), kind)
        order = np.argsort(shard, kind="stable")
        ends = np.flatnonzero(np.diff(shard[order])) + 1
        for some in np.split(order, ends) if len(at) else ():
            number = int(shard[some[0]])
            found[some] = self._map(part, number, array)[at[some] - number * size]
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
        if (folder / PLAN).is_file():
            plan = Plan.read(folder / PLAN)
            left = missing(folder, plan)
            done = len(plan.shards) - len(left)
            raise InputError(
                f"cache {folder}: {done} of {len(plan.shards)} shards are done; go on with `stillhouse cache`"
            )
        raise InputError(f"cache {folder}: there is none; write it with `stillhouse cache RECIPE --out {folder}`")
    plan = Plan.read(path)
    found = check_object(read_json(path), {"shards": dict[str, dict[str, dict[str, Any]]], SHA: str}, str(path))
    content = {name: value for name, value in found.items() if name != SHA}
    if found[SHA] != _digest(content):
        raise InputError(
            f"{path} was changed after it was written: expected sha256 {found[SHA]}, got {_digest(content)}"
        )
    return plan, found["shards"]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(as_json(content), sort_keys=True).encode()).hexdigest()
