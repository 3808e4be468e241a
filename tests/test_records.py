"""The run folder: whole files or none."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import (
    RUN,
    append_record,
    keep_records_until,
    open_mapped,
    read_json,
    read_object,
    read_records,
    run_place,
    write_atomically,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    """A crash in the middle must not cost the last good file."""
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device; nothing half-written"):
        write_atomically(path, fail)
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_nan_is_written_as_null(tmp_path):
    """NaN is no JSON: browsers and jq refuse the whole file."""
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.0]})
    assert read_json(tmp_path / "a.json") == {"x": None, "y": [None, 1.0]}


def test_records_after_a_step_are_dropped_and_torn_lines_ignored(tmp_path):
    """A kill leaves lines beyond the checkpoint, the last one perhaps torn."""
    path = tmp_path / "r.jsonl"
    for step in range(5):
        append_record(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')
    assert [r["step"] for r in read_records(path)] == [0, 1, 2, 3, 4]
    keep_records_until(path, 2)
    assert [r["step"] for r in read_records(path)] == [0, 1, 2]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_plainly(tmp_path):
    """On a real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("this sandbox mounts nothing")
    try:
        with pytest.raises(InputError, match="No space left on device"):
            write_atomically(disk / "big", lambda file: file.write(b"x" * 10**6))
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def opened(out, config, **grown):
    with RunFolder.open(out, config, resume=True, **grown):
        pass


def test_a_run_grows_and_does_not_shrink(tmp_path):
    """With fewer seeds than before, the report would be made of a part of the run without saying so."""
    before = {"seeds": 2, "arms": ["kd", "no-kd"], "signals": [{"weight": 1.0, "kind": "logits"}]}
    write_json(tmp_path / RUN, {"config": before})
    grow = ("seeds", "arms")
    opened(tmp_path, {**before, "seeds": 3, "arms": ["mlp", "no-kd", "kd"]}, may_grow=grow)
    with pytest.raises(InputError, match=r"seeds: was 2, is 1 \(a run can grow, but not shrink\)"):
        opened(tmp_path, {**before, "seeds": 1}, may_grow=grow)
    with pytest.raises(InputError, match="arms: was"):
        opened(tmp_path, {**before, "arms": ["kd"]}, may_grow=grow)
    other = {**before, "signals": [{"weight": 2.0, "kind": "logits"}]}
    with pytest.raises(InputError, match=r"signals.0.weight: was 1.0, is 2.0"):
        opened(tmp_path, other, may_grow=grow)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "expected an object with metrics, seed"),
        ('{"metrics": 3, "seed": 0}', "metrics: expected a valid dictionary, got 3"),
        ('{"metrics": {"accuracy": "high"}, "seed": 0}', "metrics.accuracy: expected a valid number, got 'high'"),
        ('{"metrics": {}, "seed": 1.5}', "seed: expected a valid integer, got 1.5"),
        ('{"metrics": {}, "seed": true}', "seed: expected a valid integer, got True"),
        ('{"seed": 0}', "metrics: missing"),
    ],
)
def test_an_object_is_checked_key_by_key(tmp_path, text, words):
    """What a report reads must be what it takes it for."""
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_object(tmp_path / "result.json", {"metrics": dict[str, float | None], "seed": int})
    (tmp_path / "result.json").write_text('{"metrics": {"accuracy": 1, "nll": null}, "seed": 0, "more": []}')
    found = read_object(tmp_path / "result.json", {"metrics": dict[str, float | None], "seed": int})
    assert found == {"metrics": {"accuracy": 1, "nll": None}, "seed": 0, "more": []}


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a\\b", "..", ".hidden", "", "  ", "a\0b", "a\nb", "\ud800", "x" * 201]
)
def test_names_of_runs_that_lead_elsewhere_are_refused(name):
    """`name: ../../../escaped` wrote outside runs/."""
    with pytest.raises(InputError, match=r"^name: expected") as caught:
        run_place(None, name)
    str(caught.value).encode()  # can be printed
    assert "\n" not in str(caught.value)


def test_a_line_that_was_changed_does_not_take_the_rest_along(tmp_path):
    """The records after it were dropped without a word, on resume for good."""
    path = tmp_path / "r.jsonl"
    for step in range(4):
        append_record(path, {"step": step})
    lines = path.read_text().splitlines(keepends=True)
    for line, words in (("{broken\n", "line 2 is not JSON"), ("3\n", "line 2: expected an object"), ("\n", "line 2")):
        path.write_text("".join([lines[0], line, *lines[2:]]))
        with pytest.raises(InputError, match=words):
            list(read_records(path))
    path.write_bytes(b"".join([lines[0].encode(), b'{"step": "\xff"}\n', b"{torn"]))
    with pytest.raises(InputError, match="line 2 is not JSON"):
        list(read_records(path))


def test_space_is_taken_before_it_is_mapped(tmp_path):
    """A full disk under a mapped file ends the process by SIGBUS, with no message: so the disk is asked first."""
    array = open_mapped(tmp_path / "a.npy", np.uint8, (1000, 100))
    status = (tmp_path / "a.npy").stat()
    assert status.st_blocks * 512 >= 100_000  # really there, not a hole
    array[:] = 7
    array.flush()
    assert int(np.load(tmp_path / "a.npy").sum()) == 700_000
    with pytest.raises(InputError, match=r"cannot write .*b\.npy"):
        open_mapped(tmp_path / "b.npy", np.uint8, (10**9, 10**8))
    assert not (tmp_path / "b.npy").exists()
