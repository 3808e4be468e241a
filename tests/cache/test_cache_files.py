"""Rows on disk: whole batches or nothing, whoever writes them, and never believed unread."""

import errno
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stillhouse.cache import files
from stillhouse.cache.files import MANIFEST, Plan, Store, rows_there, write_rows
from stillhouse.core.checks import CannotWrite, InputError

ROWS, BATCH = 23, 4
KEY = {"teacher": "t", "data": "d", "content": "scores"}


def plan(**key):
    arrays = {"train": {"logits": ((3,), "<f4"), "seen": ((4,), "<f8")}}
    return Plan({**KEY, **key}, {"train": ROWS}, arrays, BATCH, {"teacher": "net", "licence": "mit"})


def values(start, stop):
    """What row i holds is a function of i."""
    rows = np.arange(start, stop)
    return {
        "logits": np.stack([rows, rows**2, -rows], 1).astype(np.float32),
        "seen": np.stack([rows] * 4, 1).astype(np.float64),
    }


def fill(part, start):
    for at in range(start, ROWS, BATCH):
        yield values(at, min(at + BATCH, ROWS))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_come_back_in_any_order(tmp_path):
    """Twice, and from the short last batch; the files are ordinary ones."""
    write_rows(tmp_path / "c", plan(), fill)
    store = Store(tmp_path / "c")
    for rows in ([22, 0, 3, 4, 22], [5, 6], [], np.random.default_rng(0).permutation(ROWS)):
        at = np.asarray(rows, np.int64)
        expected = np.stack([at, at**2, -at], 1).astype(np.float32)
        np.testing.assert_array_equal(store.read("train", "logits", at), expected)
    buffer = io.BytesIO()
    np.save(buffer, values(0, ROWS)["logits"])
    assert (tmp_path / "c" / "train.logits.npy").read_bytes() == buffer.getvalue()


WRITER = """
import os, signal, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
import test_cache_files as t
def fill(part, start):
    for piece in t.fill(part, start):
        print(int(piece["seen"][0, 0]), flush=True)
        if piece["seen"][0, 0] >= {kill}:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        yield piece
t.write_rows(Path({folder!r}), t.plan(), fill)
"""


def writer(folder, kill):
    code = WRITER.format(here=os.path.dirname(__file__), folder=str(folder), kill=kill)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_writers_leave_the_bytes_of_one(tmp_path):
    """One waits for the other; two that append would tear the file."""
    write_rows(tmp_path / "one", plan(), fill)
    both = [writer(tmp_path / "two", kill=10**9) for _ in range(2)]
    asked = [int(word) for process in both for word in process.communicate()[0].split()]
    assert [process.returncode for process in both] == [0, 0]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert asked == list(range(0, ROWS, BATCH))  # each row once


def test_a_killed_cache_is_continued(tmp_path):
    """What is finished is not asked for again, what is half of a batch is, and what is not finished is not read."""
    process = writer(tmp_path / "c", kill=12)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match=r"12 of 23 rows are done; go on with `stillhouse cache`"):
        Store(tmp_path / "c")
    torn = tmp_path / "c" / "train.seen.npy"
    torn.write_bytes(torn.read_bytes()[:-1])  # by the file system
    asked = []

    def counting(part, start):
        asked.append(start)
        yield from fill(part, start)

    write_rows(tmp_path / "c", plan(), counting)
    assert asked == [8]
    write_rows(tmp_path / "one", plan(), fill)
    assert contents(tmp_path / "one") == contents(tmp_path / "c")


def test_a_flipped_bit_is_a_named_error(tmp_path):
    """8 of 20 flipped bits of weights passed before weights had hashes."""
    write_rows(tmp_path / "c", plan(), fill)
    Store(tmp_path / "c")
    path = tmp_path / "c" / "train.logits.npy"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"train\.logits\.npy was changed after it was written"):
        Store(tmp_path / "c")
    (tmp_path / "c" / MANIFEST).write_text('{"format": "x"}')
    with pytest.raises(InputError, match="expected a cache of format"):
        Store(tmp_path / "c")


def test_a_full_disk_is_an_error_before_a_row_is_asked_for(tmp_path, monkeypatch):
    """It was SIGBUS, status 135, hours later."""
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: files.shutil._ntuple_diskusage(100, 100, 10))
    with pytest.raises(InputError, match=r"expected 1,012 free bytes, got 10"):
        write_rows(tmp_path / "c", plan(), lambda part, start: pytest.fail("asked"))


def test_a_disk_that_is_full_at_any_moment_is_named(tmp_path, monkeypatch):
    """Some file systems find out when a file is flushed: it was a traceback."""

    def full(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.check_folder(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(CannotWrite, match=r"cannot write .*(no space|No space) left"):
            write_rows(tmp_path / "c", plan(), fill)
    write_rows(tmp_path / "c", plan(), fill)  # the same command goes on


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Nothing of the user's is overwritten; rows that do not fit are named."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="exists and is not a cache"):
        write_rows(tmp_path / "mine", plan(), fill)

    def wrong(part, start):
        yield {name: x.astype(np.float16) for name, x in values(start, start + 4).items()}

    with pytest.raises(InputError, match=r"of <f4, got .* float16"):
        write_rows(tmp_path / "c", plan(), wrong)
    assert rows_there(tmp_path / "c", plan(), "train") == 0
    with pytest.raises(InputError, match="another data"):
        write_rows(tmp_path / "c", plan(data="e"), fill)


def test_a_file_is_hashed_once_a_process(tmp_path, monkeypatch):
    """Every arm of a run opens the cache; ten gigabytes are not read each time."""
    write_rows(tmp_path / "c", plan(), fill)
    read = []
    original = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(path) or original(path))
    Store(tmp_path / "c")
    Store(tmp_path / "c")
    assert len(read) == 2
    time.sleep(0.01)
    path = tmp_path / "c" / "train.seen.npy"
    path.write_bytes(path.read_bytes())
    Store(tmp_path / "c")
    assert len(read) == 3  # its time changed, so it is looked at again
