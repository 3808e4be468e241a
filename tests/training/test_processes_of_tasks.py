"""Whole runs of radar, language and embeddings on two processes (gloo, on the CPU) against one: folder, figures, page, resume."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_tasks
from safetensors.torch import load_file

from stillhouse.cli.main import run_command
from stillhouse.core import records
from stillhouse.core.manifest import files_of

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from cases import CASES

pytestmark = pytest.mark.slow
KINDS = ("embed", "lm", "sar")
TAUGHT = {"embed": "student", "lm": "kd", "sar": "kd"}
FORM = {"embed": "numpy", "lm": "packed", "sar": "torch"}
TOLERANCE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The runs of one process, then those of two, all in one start."""
    out = tmp_path_factory.mktemp("tasks")
    for kind in KINDS:
        case = CASES[kind](out / kind)
        changes = (
            {"student": {"spikes": None}} if kind == "lm" else {}
        )  # one that rounding tips over moves every loss after it
        shutil.copy(case.file(**changes), out / f"{kind}.yaml")
        assert two_tasks.distill(out, kind, out / "one" / kind) == 0
    words = [sys.executable, two_tasks.__file__, str(out), "2", *KINDS]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=1500)
    (out / "log").write_text(done.stdout + done.stderr)
    return out


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def both(folder, kind):
    """What each process noted."""
    files = [folder / f"{kind}-{rank}.pt" for rank in (0, 1)]
    assert all(file.is_file() for file in files), (folder / "log").read_text()[-4000:]
    return [torch.load(file, weights_only=False) for file in files]


def trainings(run):
    return sorted(path.parent for path in run.glob("arms/*/seed-0/checkpoint.pt"))


def lines(place, split):
    return [line for line in records.read_records(place / records.RECORDS) if line["split"] == split]


def page(run):
    """The words of a page without the command; numbers differ in their last digits, and times by much."""
    text = re.sub(r"<svg.*?</svg>|<img[^>]*>", "", (run / "report.html").read_text(), flags=re.DOTALL)
    text = re.sub(r"it again.*?What the words mean", "", re.sub(r"<[^>]*>", " ", text), flags=re.DOTALL)
    text = re.sub(r"\bthreads\b", "thread", text)  # two processes share the cores, so one of them may have a single one
    return re.sub(r"(under )?[-\u2212+]?\d[\d.,e]*", "0", text)  # a time is "under 0.1", or a number


def alike(got, expected):
    """Weights, losses and figures of all trainings of two runs, to rounding."""
    assert [p.name for p in trainings(got)] == [p.name for p in trainings(expected)]
    for ours, theirs in zip(trainings(got), trainings(expected), strict=True):
        for path in theirs.glob("*.safetensors"):
            found = load_file(ours / path.name)
            for name, x in load_file(path).items():
                torch.testing.assert_close(found[name], x, **TOLERANCE)
        mine, yours = ([(r["step"], r["loss"]) for r in lines(place, "train")] for place in (ours, theirs))
        assert [step for step, _ in mine] == [step for step, _ in yours]  # written once, by one process
        assert [x for _, x in mine] == pytest.approx([x for _, x in yours], rel=1e-4)
        mine, yours = (records.read_json(place / records.RESULT)["metrics"] for place in (ours, theirs))
        assert mine.keys() == yours.keys()
        numbers = {
            name: x for name, x in yours.items() if isinstance(x, float) and "ms" not in name and "second" not in name
        }
        assert {name: mine[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-4)


def test_a_whole_run_on_two_processes_is_that_of_one(kind, folder):
    """Half of the rows each, or all of them in both, would end in other weights; two writers in a folder in other lines."""
    assert [found[0] for found in both(folder, kind)] == [0, 0]
    two, one = folder / "two" / kind, folder / "one" / kind
    alike(two, one)
    ours, theirs = ([re.sub(r"tfevents.*", "", name) for name in sorted(files_of(run))] for run in (two, one))
    assert ours == theirs  # TensorBoard's names end in a time and a process
    assert page(two) == page(one)


def test_a_run_of_two_is_stopped_resumed_by_one_process_and_exported(kind, folder):
    """A checkpoint knows no number of processes."""
    assert [found[1] for found in both(folder, kind)] == [f"stopped after step {two_tasks.STOP + 1}"] * 2
    run = folder / "split" / kind
    assert two_tasks.distill(folder, kind, run, "--resume") == 0
    alike(run, folder / "one" / kind)
    assert run_command(["export", str(run), "--to", FORM[kind], "--out", str(folder / f"export-{kind}")]) == 0
