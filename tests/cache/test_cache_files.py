"""Shards on disk: whole or absent, whoever writes them, and never believed unread."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stillhouse.cache import files
from stillhouse.cache.files import MANIFEST, Plan, Store, missing, read_manifest, write_shards
from stillhouse.core.checks import CannotWrite, InputError

ROWS, SHARD = 23, 4
KEY = {"teacher": "t", "data": "d", "content": "scores"}


def plan(**key):
    arrays = {"train": {"logits": ((3,), "<f4"), "seen": ((4,), "<f8")}}
    return Plan({**KEY, **key}, {"train": ROWS}, arrays, {"train": SHARD}, {"teacher": "net", "licence": "mit"})


def values(start, stop):
    """What row i holds is a function of i."""
    rows = np.arange(start, stop)
    return {
        "logits": np.stack([rows, rows**2, -rows], 1).astype(np.float32),
        "seen": np.stack([rows] * 4, 1).astype(np.float64),
    }


def fill(part, start, stop):
    for at in range(start, stop, 3):  # batches need not be whole
        yield values(at, min(at + 3, stop))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".npy", ".json"}}


def test_rows_come_back_in_any_order(tmp_path):
    """Across shards, twice, and from the short last one."""
    assert write_shards(tmp_path / "c", plan(), fill)
    store = Store(tmp_path / "c")
    for rows in ([22, 0, 3, 4, 22], [5, 6], [], np.random.default_rng(0).permutation(ROWS)):
        at = np.asarray(rows, np.int64)
        expected = np.stack([at, at**2, -at], 1).astype(np.float32)
        np.testing.assert_array_equal(store.read("train", "logits", at), expected)
    with pytest.raises(InputError, match="expected rows 0 to 22 of train, got 0 to 23"):
        store.read("train", "logits", np.array([0, 23]))
    assert np.load(tmp_path / "c" / "train-00005.logits.npy").shape == (3, 3)  # an ordinary file


WRITER = """
import os, signal, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
import test_cache_files as t
def fill(part, start, stop):
    print(start, flush=True)
    for piece in t.fill(part, start, stop):
        if start >= {kill}:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        yield piece
t.write_shards(Path({folder!r}), t.plan(), fill, wait=True)
"""


def writer(folder, kill):
    code = WRITER.format(here=os.path.dirname(__file__), folder=str(folder), kill=kill)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_writers_one_killed_leave_the_bytes_of_one(tmp_path):
    """A kill loses the shard it was in and nothing else; the other process takes it over; nothing is written twice."""
    assert write_shards(tmp_path / "one", plan(), fill)
    killed, other = writer(tmp_path / "two", kill=8), writer(tmp_path / "two", kill=10**9)
    begun = [int(word) for process in (killed, other) for word in process.communicate()[0].split()]
    assert killed.returncode == -signal.SIGKILL
    assert other.returncode == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(set(begun)) == list(range(0, ROWS, SHARD))
    assert len(begun) == 7  # each shard once, and the killed one again
    assert not [path for path in (tmp_path / "two").iterdir() if path.name.startswith(".")]


def test_a_killed_cache_is_continued(tmp_path):
    """What is finished is not asked for again, and what is not is not read."""
    process = writer(tmp_path / "c", kill=12)
    process.communicate()
    with pytest.raises(InputError, match=r"3 of 6 shards are done; go on with `stillhouse cache`"):
        Store(tmp_path / "c")
    torn = min((tmp_path / "c").glob("*-00000.*.npy"))
    torn.write_bytes(torn.read_bytes()[:-1])  # by the file system
    asked = []

    def counting(part, start, stop):
        asked.append(start)
        yield from fill(part, start, stop)

    assert write_shards(tmp_path / "c", plan(), counting)
    assert asked == [0, 12, 16, 20]
    assert write_shards(tmp_path / "one", plan(), fill)
    assert contents(tmp_path / "one") == contents(tmp_path / "c")


def test_a_shard_that_another_process_writes_is_left_alone(tmp_path):
    """Two writers of one shard would tear it, or do the work twice."""
    with files._claim(_made(tmp_path / "c"), plan().shards[2]) as ours:
        assert ours
        assert not write_shards(tmp_path / "c", plan(), fill)
        assert missing(tmp_path / "c", plan()) == ["train-00002"]
    assert write_shards(tmp_path / "c", plan(), fill)


def _made(folder):
    files.begin(folder, plan())
    return folder


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["train-00003.logits.npy", "train-00000.seen.npy"])
def test_a_flipped_bit_is_a_named_error(tmp_path, name):
    """8 of 20 flipped bits of weights passed before weights had hashes."""
    write_shards(tmp_path / "c", plan(), fill)
    Store(tmp_path / "c")
    flip(tmp_path / "c" / name)
    with pytest.raises(InputError, match=f"{name} was changed after it was written"):
        Store(tmp_path / "c")


def test_a_changed_manifest_is_a_named_error(tmp_path):
    """A licence or a teacher written over by hand."""
    write_shards(tmp_path / "c", plan(), fill)
    found = json.loads((tmp_path / "c" / MANIFEST).read_text())
    for change in ({"about": {"teacher": "another"}}, {"shards": {}}, {"parts": {"train": 5}}):
        (tmp_path / "c" / MANIFEST).write_text(json.dumps({**found, **change}))
        with pytest.raises(InputError, match=r"manifest\.json was changed"):
            read_manifest(tmp_path / "c")
    (tmp_path / "c" / MANIFEST).write_text(json.dumps({**found, "format": "x"}))
    with pytest.raises(InputError, match="expected a cache of format"):
        read_manifest(tmp_path / "c")


def test_a_full_disk_is_an_error_before_a_row_is_asked_for(tmp_path, monkeypatch):
    """It was SIGBUS, status 135, hours later."""
    asked = []

    def asking(part, start, stop):
        asked.append(start)
        yield from fill(part, start, stop)

    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: files.shutil._ntuple_diskusage(100, 100, 10))
    with pytest.raises(InputError, match=r"expected 1,012 free bytes, got 10"):
        write_shards(tmp_path / "c", plan(), asking)
    assert asked == []


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_disk_that_is_full_at_any_moment_is_named(tmp_path, monkeypatch, call):
    """Some file systems find out when a file is flushed, or when there is no room for its name: it was a traceback."""
    original = getattr(os, call)

    def full(target, *rest, **more):
        path = os.readlink(f"/proc/self/fd/{target}") if call == "fsync" else str(target)
        if ".npy." in path or path.endswith(".claim"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(target, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(CannotWrite, match=r"cannot write .*(no space|No space) left"):
            write_shards(tmp_path / "c", plan(), fill)
    assert not [p.name for p in (tmp_path / "c").iterdir() if ".npy" in p.name]
    assert write_shards(tmp_path / "c", plan(), fill)  # the same command goes on


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Nothing of the user's is overwritten; rows that do not fit are named."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="exists and is not a cache"):
        write_shards(tmp_path / "mine", plan(), fill)

    def wrong(part, start, stop):
        yield {name: x.astype(np.float16) for name, x in values(start, stop).items()}

    def few(part, start, stop):
        yield values(start, stop - 1)

    with pytest.raises(InputError, match=r"of <f4, got .* float16"):
        write_shards(tmp_path / "c", plan(), wrong)
    with pytest.raises(InputError, match=r"expected \(4, 3\) of <f4, got \(3, 3\)"):
        write_shards(tmp_path / "c", plan(), few)
    assert not list((tmp_path / "c").glob("*.npy"))
    assert not list((tmp_path / "c").glob(".*part"))


def test_a_file_is_hashed_once_a_process(tmp_path, monkeypatch):
    """Every arm of a run opens the cache; ten gigabytes are not read each time."""
    write_shards(tmp_path / "c", plan(), fill)
    read = []
    original = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(path) or original(path))
    Store(tmp_path / "c")
    first = len(read)
    Store(tmp_path / "c")
    assert first == 12
    assert len(read) == first
    time.sleep(0.01)
    path = tmp_path / "c" / "train-00000.seen.npy"
    path.write_bytes(path.read_bytes())
    Store(tmp_path / "c")
    assert len(read) == first + 1  # its time changed, so it is looked at again
