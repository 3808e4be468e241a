"""The run folder: whole files or none."""

import os
import shutil
import subprocess

import pytest
import torch

from stillhouse import records
from stillhouse.checks import InputError
from stillhouse.records import (
    RUN,
    append_record,
    keep_records_until,
    open_run_folder,
    read_json,
    read_records,
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


def test_unreadable_json_is_said_plainly(tmp_path):
    """Missing and broken."""
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_json(tmp_path / "a.json")


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


def test_a_run_grows_and_does_not_shrink(tmp_path):
    """With fewer seeds than before, the report would be made of a part of the run without saying so."""
    before = {"seeds": 2, "arms": ["kd", "no-kd"], "signals": [{"weight": 1.0, "kind": "logits"}]}
    write_json(tmp_path / RUN, {"config": before})
    grow = ("seeds", "arms")
    open_run_folder(tmp_path, {**before, "seeds": 3, "arms": ["mlp", "no-kd", "kd"]}, resume=True, may_grow=grow)
    with pytest.raises(InputError, match=r"seeds: was 2, is 1 \(a run can grow, but not shrink\)"):
        open_run_folder(tmp_path, {**before, "seeds": 1}, resume=True, may_grow=grow)
    with pytest.raises(InputError, match="arms: was"):
        open_run_folder(tmp_path, {**before, "arms": ["kd"]}, resume=True, may_grow=grow)
    other = {**before, "signals": [{"weight": 2.0, "kind": "logits"}]}
    with pytest.raises(InputError, match=r"signals.0.weight: was 1.0, is 2.0\n"):
        open_run_folder(tmp_path, other, resume=True, may_grow=grow)


def test_a_machine_lists_what_its_cpu_can(tmp_path, monkeypatch):
    """A time without it means nothing: int8 is 4 times as fast as float32 with VNNI, and 50 times as slow without."""
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("model name\t: A\nflags\t\t: fpu avx2 avx512_vnni sse\nflags\t\t: none\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = records.cpu_capabilities(cpu)
    assert found["flags"] == ["avx2", "avx512_vnni"]
    assert found["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert found["torch"] == torch.backends.cpu.get_cpu_capability()
    assert records.cpu_capabilities(tmp_path / "none")["flags"] == []
    assert set(records.machine()) == {"cpu", "cores", "system", "capabilities"}
