"""One writer a folder, whatever happens to it."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from stillhouse.core.checks import InputError
from stillhouse.core.folder import locked
from stillhouse.core.records import LOCK

HOLD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from stillhouse.core.checks import InputError
    from stillhouse.core.folder import locked

    try:
        with locked(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.readline()
    except InputError as error:
        print(error, flush=True)
        sys.exit(2)
    """
)


@pytest.fixture
def hold(tmp_path):
    """Start a process that takes the lock of a folder and keeps it until it gets a line (or is killed)."""
    started = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_second_of_two_processes_is_refused_and_reads_who_holds_it(tmp_path, hold):
    """Nine pairs of fifteen both wrote; with two configurations one run vanished without a word."""
    out = tmp_path / "runs" / "x"
    first, line = hold(out)
    assert line == "held"
    second, unsupported_reason = hold(out)
    assert second.wait(20) == 2
    assert unsupported_reason == (
        f"{out} is in use by process {first.pid} on {socket.gethostname()}; wait for it, or choose another --out"
    )
    assert hold(tmp_path / "runs" / "y")[1] == "held"  # another folder is another lock
    first.stdin.write("\n")
    first.stdin.flush()
    assert first.wait(20) == 0
    assert not out.exists()  # nothing was begun
    assert hold(out)[1] == "held"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, hold):
    """No handler runs at SIGKILL: its file remains, its lock does not."""
    first, _ = hold(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path), pytest.raises(InputError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "file/inside", "file"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, name):
    """Before anything is trained."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write") as caught, locked(tmp_path / name):
        pass
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ temporaries


def test_a_run_that_is_refused_leaves_no_folders(tmp_path):
    """Not the folder, nor those above it that were made for it; what was there before, and what holds something, stays."""
    (tmp_path / "mine").mkdir()
    for place in (tmp_path / "runs" / "deep" / "x", tmp_path / "mine"):
        with pytest.raises(InputError, match="refused"), locked(place):
            raise InputError("refused")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine"]
    with locked(tmp_path / "runs" / "y"):
        (tmp_path / "runs" / "y" / "run.json").write_text("{}")
    assert (tmp_path / "runs" / "y" / "run.json").is_file()
