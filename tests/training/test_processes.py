"""Two processes (gloo, on the CPU) against one: the same trainings, split, resumed, exported. One start of both does all."""

import os
import subprocess
import sys
import time

import pytest
import torch
import two_cases
from safetensors.torch import load_file
from two_cases import CASES, MORE, train

from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.records import CHECKPOINT, RECORDS, STUDENT, read_json, read_records
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.training.device import open_run
from stillhouse.training.state import load_checkpoint

ALIKE = [name for name in CASES if name not in {"dropout", "breaks"}]
TOLERANCE = {
    "rtol": 0,
    "atol": 3e-7,
}  # weights are of the order of 1, and sums of another order differ in their last bit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All trainings on two processes, started as a script is: by the first one, which runs it again."""
    out = tmp_path_factory.mktemp("two")
    train("split", out, place="from-one", stop=13)
    names = [*ALIKE, *MORE, "run", "breaks"]
    words = [sys.executable, two_cases.__file__, str(out), "2", *names]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.monotonic()
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=500)
    (out / "log").write_text(done.stdout + done.stderr)
    (out / "status").write_text(f"{done.returncode} {time.monotonic() - started:.1f}")
    return out


@pytest.fixture(scope="module")
def two(folder):
    """What both processes hold after a training."""

    def found(name):
        files = [folder / f"{name}-{rank}.pt" for rank in (0, 1)]
        assert all(file.is_file() for file in files), (folder / "log").read_text()[-3000:]
        return [torch.load(file, weights_only=False) for file in files]

    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same training in this process, once."""
    known = {}

    def found(name):
        if name not in known:
            known[name] = train(name, tmp_path_factory.mktemp("one"))
        return known[name]

    return found


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_train_as_one(name, two, one):
    """Of means of unequal parts, of relations inside parts, none would be equal.

    144 rows in batches of 11: parts of 6 and 5, and a last row that one process has alone.
    """
    alone, (first, second) = one(name), two(name)
    torch.testing.assert_close(first["weights"], alone["weights"], **TOLERANCE)
    torch.testing.assert_close(first["extras"], alone["extras"], **TOLERANCE)
    assert torch.equal(first["weights"], second["weights"])
    assert torch.equal(first["extras"], second["extras"])
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["best"] == pytest.approx(alone["best"], rel=1e-5, abs=1e-6)
    assert first["best"] == second["best"]


def test_a_stop_of_one_process_stops_both_and_a_resume_repeats_the_rest(two):
    """A signal came to process 0 alone; dropout draws in each process, so each must go on with its own random state."""
    stopped = two("dropout-stopped")
    assert stopped == [{"stopped": 14}] * 2
    for whole, resumed in zip(two("dropout-whole"), two("dropout-resumed"), strict=True):
        assert torch.equal(resumed["weights"], whole["weights"])
        assert torch.equal(resumed["extras"], whole["extras"])
        assert resumed["losses"] == whole["losses"]


def test_processes_draw_dropout_of_their_own(folder):
    """Equal masks on the parts of a batch would be half the noise."""
    ours, theirs = load_checkpoint(folder / "dropout-whole" / CHECKPOINT)["generators"]
    assert not torch.equal(ours["cpu"], theirs["cpu"])


def test_a_run_goes_on_with_another_number_of_processes(folder, two, one):
    """From one to two, and from two to one: neither a checkpoint nor the order knows processes."""
    first, _ = two("from-one")
    torch.testing.assert_close(first["weights"], one("split")["weights"], **TOLERANCE)
    assert first["losses"] == pytest.approx(one("split")["losses"], rel=1e-5)
    assert two("for-one") == [{"stopped": 14}] * 2
    alone = train("split", folder, place="for-one", resume=True)
    torch.testing.assert_close(alone["weights"], one("split")["weights"], **TOLERANCE)
    assert alone["losses"] == pytest.approx(one("split")["losses"], rel=1e-5)


def test_a_whole_run_is_written_once(folder, two, tmp_path):
    """Two writers of one file would double its lines; the shipped student is laid out as that of one process."""
    assert two("run") == [0, 0]
    words = ["distill", "digits", *two_cases.RUN.split(), "--out", str(tmp_path / "run")]
    assert two_cases.command(words) == 0
    for arm in ("kd", "no-kd"):
        ours, theirs = (
            list(read_records(run / "arms" / arm / "seed-0" / RECORDS)) for run in (folder / "run", tmp_path / "run")
        )
        assert [(r["split"], r["step"]) for r in ours] == [(r["split"], r["step"]) for r in theirs]
    kinds = [
        {k: (x.dtype, x.shape) for k, x in load_file(run / "student" / STUDENT).items()}
        for run in (folder / "run", tmp_path / "run")
    ]
    assert kinds[0] == kinds[1]
    assert sorted(p.name for p in (folder / "run").iterdir()) == sorted(p.name for p in (tmp_path / "run").iterdir())
    assert read_json(folder / "run" / "summary.json")["arms"].keys() == {"kd", "no-kd", "linear", "majority"}


def test_an_error_of_one_process_ends_all(folder):
    """Process 1 failed alone at last: process 0 must not wait for it until the end of days."""
    log = (folder / "log").read_text()
    assert (folder / "status").read_text().split()[0] != "0", log[-2000:]
    assert "process 1 alone fails" in log
    assert not (folder / "breaks-0.pt").exists()


def test_the_number_of_processes_may_change_on_resume(tmp_path, monkeypatch):
    """It decides how fast a run is, not what it finds; anything else of a training is refused as ever."""
    monkeypatch.setattr("stillhouse.training.device.join", lambda training: None)
    before, after, other = (
        ClassificationRunConfig(training=ClassificationTrainingConfig(devices=n, epochs=epochs))
        for n, epochs in ((8, 3), (1, 3), (1, 4))
    )
    with open_run(tmp_path / "run", before, resume=False) as folder:
        folder.begin({"config": to_mapping(before)})
    with open_run(tmp_path / "run", after, resume=True) as folder:
        assert folder.before["config"] == to_mapping(before)
    with pytest.raises(InputError, match=r"training\.epochs: was 3, is 4"):
        open_run(tmp_path / "run", other, resume=True).__enter__()
