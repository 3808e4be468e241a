"""The example of a whole new task keeps what every task promises."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from stillhouse import tasks
from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.experiment import run
from stillhouse.core.parts import TeacherAtChance

EXAMPLE = Path(__file__).parents[2] / "examples" / "tabular_task.py"
spec = importlib.util.spec_from_file_location("tabular_task", EXAMPLE)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


def config(**changes):
    training = {"epochs": 6, "batch_size": 32, "learning_rate": 0.03, "threads": 1, "device": "cpu"}
    return parse(example.TabularRun, {"data": "wine", "seeds": 2, "training": training, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("tabular") / "run"
    return out, run(example.TASK, config(), out)


@pytest.fixture
def copied(made, tmp_path):
    """A finished run that a test may change."""
    return shutil.copytree(made[0], tmp_path / "run")


def test_it_is_short():
    """A task that needs more than this is a contract that asks too much."""
    assert len(EXAMPLE.read_text().splitlines()) < 150


def test_a_run_has_verdict_and_report(made):
    """The verdict is of the two arms, and the task's own table is in the page."""
    out, summary = made
    assert [(c["arm"], c["control"], c["seeds"]) for c in summary["comparisons"]] == [("kd", "no-kd", 2)]
    assert summary["verdict"] == "not tested (2 seeds; a verdict needs 3)"
    page = (out / "report.html").read_text()
    assert "How far each column moves a score" in page
    assert "flavanoids" in page


def test_the_shipped_student_is_the_taught_one_and_scores_the_same(made, copied):
    """Loaded from its folder, on raw rows, against the scores in the run folder."""
    out, summary = copied, made[1]
    assert summary["shipped"]["arm"] == "kd"
    student = example.TASK.load(out / "student")
    x, labels = example.TASK.data(config(), print).test
    with torch.no_grad():
        right = (student(x).argmax(1) == labels).numpy()
    kept = np.load(out / "arms" / "kd" / f"seed-{summary['shipped']['seed']}" / "scores.npz")["accuracy"]
    assert (right == kept).all()
    (out / "student" / "student.safetensors").write_bytes(b"changed")
    with pytest.raises(InputError, match="was changed"):
        example.TASK.load(out / "student")


def test_resume_keeps_what_is_finished_and_refuses_other_data(copied):
    """More seeds are trained beside those that are there; other rows of the same shape are refused."""
    out = copied
    before = {path: path.stat().st_mtime_ns for path in out.glob("arms/*/seed-*/result.json")}
    summary = run(example.TASK, config(seeds=3), out, resume=True)
    assert len(before) == 4
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert summary["comparisons"][0]["seeds"] == 3
    data = example.TASK.data(config(), print)
    data.sha256 = "0" * 64
    with pytest.raises(InputError, match="needs the data of the run"):
        run(example.TASK, config(seeds=3), out, resume=True, data=data)
    x, labels = example.TASK.data(config(), print).train
    shutil.rmtree(out / "arms" / "kd")  # something is left to do
    with pytest.raises(InputError, match="needs the teacher of the run"):
        run(example.TASK, config(seeds=3), out, resume=True, teacher=example.ForestTeacher(x[:, :5], labels))


def test_a_teacher_at_chance_is_refused(tmp_path):
    """Grown on shuffled labels; nothing is left behind."""
    x, labels = example.TASK.data(config(), print).train
    teacher = example.ForestTeacher(x, labels[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))])
    with pytest.raises(TeacherAtChance, match="at chance"):
        run(example.TASK, config(), tmp_path / "run", teacher=teacher)
    assert not (tmp_path / "run").exists()


def test_the_forest_answers_with_trees_that_never_saw_the_row():
    """Labels turned for one row: trees grown on it would repeat the wrong one."""
    x, labels = example.TASK.data(config(), print).train
    turned = labels.clone()
    turned[0] = (labels[0] + 1) % 3
    teacher = example.ForestTeacher(x, turned)
    batch = example.Batch(x[:4], turned[:4], torch.arange(4))
    assert teacher(batch).logits[0].argmax() == labels[0]
    plain = RandomForestClassifier(200, min_samples_leaf=3, random_state=0).fit(x, turned)
    assert teacher.p[0, turned[0]] < plain.predict_proba(x[:1])[0, turned[0]]


def test_a_new_task_without_evaluate_says_so(made, monkeypatch, capsys):
    """The flags of the command are listed by task; one that is not listed was a KeyError."""
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, "tabular"))
    monkeypatch.setitem(sys.modules, "stillhouse.tasks.tabular.task", example)
    assert main(["evaluate", str(made[0])]) == 2
    assert "task 'tabular' has no evaluate" in capsys.readouterr().err
    assert main(["evaluate", str(made[0]), "--tokens", "3"]) == 2
    assert "takes no flags, got tokens" in capsys.readouterr().err


def test_scores_are_asked_without_gradients(tmp_path):
    """The graph of a whole test split is memory for nothing; a student without scores is named, not an AssertionError."""
    asked = []

    class Watched(example.TabularTask):
        def score(self, model, arm, seed, context):
            asked.append((arm and arm.name, torch.is_grad_enabled()))
            return super().score(model, arm, seed, context)

    training = {"epochs": 1, "batch_size": 32, "threads": 1, "device": "cpu"}
    run(Watched(), config(seeds=1, training=training), tmp_path / "run")
    assert asked == [("kd", False), ("no-kd", False), (None, False)]
    assert torch.is_grad_enabled()

    class Silent(example.TabularTask):
        def score(self, model, arm, seed, context):
            return None

    with pytest.raises(InputError, match="kd, seed 0: task 'tabular' gave no scores"):
        run(Silent(), config(seeds=1, training=training), tmp_path / "silent")
