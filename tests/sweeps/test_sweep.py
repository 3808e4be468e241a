"""Sweeps of a tiny task: what counts, what is stopped, what is taken up again, and what is refused."""

import errno
import importlib.util
import os
import re
import shlex
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution as Choices
from optuna.distributions import FloatDistribution as Range

from stillhouse.cli.main import main
from stillhouse.cli.sweep import WORKER
from stillhouse.core import records
from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.config import parse, set_path, to_mapping
from stillhouse.core.experiment import run
from stillhouse.sweeps.page import pareto_front, write_sweep
from stillhouse.sweeps.space import grid, space_mapping
from stillhouse.sweeps.study import Plan, command_of, open_study, work
from stillhouse.sweeps.study import next_trial as taken

ROOT = Path(__file__).parents[2]
RATES = (0.03, 0.04, 0.05, 0.06, 0.07)
FIXED = {
    "seeds": 1,
    "training.epochs": 3,
    "training.final_learning_rate": 0.0,
    "training.threads": 1,
    "training.device": "cpu",
    "data": "wine",
}


@cache
def example():
    spec = importlib.util.spec_from_file_location("tabular_task", ROOT / "examples" / "tabular_task.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def forest():
    """The teacher of all trials; a forest each would be most of the time."""
    data = example().TASK.data(SimpleNamespace(data="wine"), None)
    return example().ForestTeacher(*data.train)


def tabular(**changes):
    """The task with its teacher at hand, and methods changed."""
    found = type("Tabular", (example().TabularTask,), changes)()
    found.teachers = lambda config, data, given, log: [forest()]
    return found


def build_of(task):
    def build(settings):
        mapping = to_mapping(example().TabularRun())
        for key, value in {**FIXED, **settings}.items():
            set_path(mapping, key.split("."), value)
        return task, parse(example().TabularRun, mapping)

    return build


def plan_of(space, *, prune=False, trials=None, seeds=1):
    about = {"space": space_mapping(space), "seeds": seeds}
    return Plan("tabular.yaml", (), space, trials or len(grid(space)), seeds, prune, "tpe", about)


def swept(out, space, task=None, *, resume=False, **how):
    """A study that has been worked through."""
    plan = plan_of(space, **how)
    study = open_study(plan, "test", out, resume=resume)
    work(study, plan, out, build_of(task or tabular()))
    return study, plan


def real_trials(study):
    return study.get_trials(deepcopy=False)


@contextmanager
def next_trial(study, plan, out):
    """Held as long as it is open."""
    with ExitStack() as stack:
        yield taken(study, plan, out, stack)


def scores(study):
    return [trial.value for trial in real_trials(study)]


def validations(folder):
    lines = records.read_records(folder / "arms" / "kd" / "seed-0" / records.RECORDS)
    return [line["accuracy"] for line in lines if line["split"] == "validation"]


def test_a_grid_is_judged_on_the_validation_split_alone(tmp_path):
    """The score is what the loop recorded of validation; the test split is not even scored; nothing else is trained."""

    def score(*unused):
        raise AssertionError("a trial must not look at the test split")

    space = {"training.learning_rate": Choices((0.02, 1e-6)), "points": Choices((4, 8))}
    study, _ = swept(tmp_path, space, tabular(score=score))
    assert [t.user_attrs["settings"] for t in real_trials(study)] == list(grid(space))
    for number, value in enumerate(scores(study)):
        folder = tmp_path / f"trial-{number:04d}"
        assert value == validations(folder)[-1]
        assert [path.name for path in (folder / "arms").iterdir()] == ["kd"]
        assert not list(folder.rglob(records.RESULT))
    assert min(scores(study)[:2]) > max(scores(study)[2:])  # a rate of a millionth learns nothing


def test_a_trial_can_be_finished_as_a_run(tmp_path):
    """`distill --resume` goes on with the folder: the arm is not trained again, controls and test split follow."""
    swept(tmp_path, {"training.learning_rate": Choices((0.02, 0.03))})
    task, config = build_of(tabular())({"training.learning_rate": 0.03})
    before = validations(tmp_path / "trial-0001")
    summary = run(task, config, tmp_path / "trial-0001", resume=True)
    assert set(summary["arms"]) == {"kd", "no-kd", *summary["plain"]}
    assert validations(tmp_path / "trial-0001") == before


def test_a_trial_behind_the_median_is_stopped(tmp_path):
    """After five others; it trains one epoch of three and has no score that could be the best."""
    study, _ = swept(tmp_path, {"training.learning_rate": Choices((*RATES, 1e-7))}, prune=True)
    states = [trial.state.name for trial in real_trials(study)]
    assert states == ["COMPLETE"] * 5 + ["PRUNED"]
    assert len(validations(tmp_path / "trial-0005")) == 1
    assert study.best_trial.number < 5


class Killed(BaseException):
    """What no handler catches: the process is gone."""


def test_a_killed_trial_is_taken_up_again(tmp_path):
    """Under its number, from its checkpoint, to the score that it would have had; the others are not repeated."""
    space = {"training.learning_rate": Choices((0.01, 0.02))}
    whole, _ = swept(tmp_path / "whole", space)
    job_class = example().TabularJob

    class Dying(job_class):
        def on_validation_end(self, validation, progress):
            super().on_validation_end(validation, progress)
            if progress.step == progress.total_steps * 2 // 3 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").write_text("")
                raise Killed

    task = tabular(job=lambda self, stage_context: Dying(stage_context))
    with pytest.raises(Killed):
        swept(tmp_path / "cut", space, task)
    left = [trial.state.name for trial in real_trials(open_again(tmp_path / "cut", space)[0])]
    assert left == ["RUNNING"]
    study, _ = swept(tmp_path / "cut", space, task, resume=True)
    assert [trial.number for trial in real_trials(study)] == [0, 1]
    assert scores(study) == scores(whole)
    assert validations(tmp_path / "cut" / "trial-0000") == validations(tmp_path / "whole" / "trial-0000")


def open_again(out, space, **how):
    plan = plan_of(space, **how)
    return open_study(plan, "test", out, resume=True), plan


def test_a_trial_in_the_hands_of_another_worker_is_left_to_it(tmp_path):
    """Its file is locked; when the lock is gone the trial is free."""
    study, plan = open_again(tmp_path, {"points": Choices((4, 8))})
    again = open_again(tmp_path, plan.space)
    with next_trial(study, plan, tmp_path) as first, next_trial(*again, tmp_path) as second:
        assert (first.params, second.params) == ({"points": 4}, {"points": 8})
        with next_trial(study, plan, tmp_path) as third:
            assert third is None
    with next_trial(study, plan, tmp_path) as first:
        assert (first.number, first.params) == (0, {"points": 4})


def test_a_worker_killed_before_it_took_its_trial_leaves_it_to_the_next(tmp_path):
    """Of a grid the point waits, or the trial has no settings yet: neither is lost nor done twice."""
    study, plan = open_again(tmp_path, {"points": Choices((4, 8))})
    study.enqueue_trial(plan.grid[0])
    with next_trial(study, plan, tmp_path) as first:
        assert (first.number, first.params) == (0, {"points": 4})
        study.enqueue_trial(plan.grid[1])
        study.ask()
        with next_trial(study, plan, tmp_path) as second, next_trial(study, plan, tmp_path) as third:
            assert (second.number, second.params, third) == (1, {"points": 8}, None)


def test_workers_draw_different_settings(tmp_path):
    """Two samplers of one seed would try the same points."""
    space = {"training.learning_rate": Range(1e-4, 1e-1, log=True)}
    drawn = []
    with ExitStack() as stack:
        for _ in range(4):
            one = open_again(tmp_path, space, trials=4)
            drawn.append(stack.enter_context(next_trial(*one, tmp_path)).params["training.learning_rate"])
    assert len(set(drawn)) == 4
    assert all(1e-4 <= rate <= 1e-1 for rate in drawn)


def test_a_sweep_of_another_space_is_refused(tmp_path):
    """Scores of other settings would be mixed; and a sweep is not continued unasked."""
    open_again(tmp_path, {"points": Choices((4, 8))})
    with pytest.raises(
        InputError, match=r"of another sweep; it differs in space.points.attributes.choices.1: was 8, is 6"
    ):
        open_again(tmp_path, {"points": Choices((4, 6))})
    plan = plan_of({"points": Choices((4, 8))})
    with pytest.raises(InputError, match="--resume"):
        open_study(plan, "test", tmp_path, resume=False)
    (tmp_path / "text").write_text("this is no study\n")
    with pytest.raises(InputError, match="cannot be opened as a study"):
        open_study(plan, "test", tmp_path, str(tmp_path / "text"), resume=False)


def test_a_sweep_is_not_put_into_a_run_or_a_folder_of_something_else(tmp_path):
    """Its journal and trials lay among the files of a finished run, and `report` made a page of a trial's."""
    (tmp_path / "run").mkdir()
    records.write_json(tmp_path / "run" / "run.json", {"config": {}})
    for out, words in (("run", "lies in a run"), ("run/sweep", "lies in a run"), (".", "is not a sweep")):
        with pytest.raises(InputError, match=words):
            open_study(plan_of({"points": Choices((4, 8))}), "test", tmp_path / out, resume=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["run.json"]


def test_a_trial_that_fails_is_written_down_and_the_rest_goes_on(tmp_path):
    """With its reason; a sweep in which all fail is an error with the first."""

    def student(self, arm, choice, seed, context):
        if choice == 5:
            raise InputError("points: 5 is unlucky")
        return example().TabularTask.student(self, arm, choice, seed, context)

    study, plan = swept(tmp_path, {"points": Choices((5, 4))}, tabular(student=student))
    assert [trial.state.name for trial in real_trials(study)] == ["FAIL", "COMPLETE"]
    found = write_sweep(study, plan, tmp_path, tabular())
    assert found["trials"][0]["error"] == "points: 5 is unlucky"
    with pytest.raises(InputError, match="all 1 trials failed; the first: points: 5 is unlucky"):
        swept(tmp_path / "all", {"points": Choices((5,))}, tabular(student=student))


def test_a_full_disk_fails_no_trial(tmp_path, monkeypatch):
    """A trial that could not be written down says nothing of its settings: it stays to be done, and ends as it would have."""
    space = {"training.learning_rate": Choices((0.01, 0.02))}
    whole, _ = swept(tmp_path / "whole", space)
    flush, seen = os.fsync, []

    def full_from(moment, lasting):
        def full(handle):
            seen.append(handle)
            if len(seen) == moment or (lasting and len(seen) > moment):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(handle)

        return full

    for moment, lasting in ((1, True), (7, True), (11, False)):  # of a trial, for good; of a checkpoint, once
        out = tmp_path / str(moment)
        seen.clear()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full_from(moment, lasting))
            with pytest.raises(InputError, match="No space left"):
                swept(out, space)
        study, _ = swept(out, space, resume=True)
        assert [trial.state.name for trial in real_trials(study)] == ["COMPLETE"] * 2
        assert scores(study) == scores(whole)


def test_a_study_that_cannot_be_written_is_a_line(tmp_path, monkeypatch):
    """Of SQLite: begun nothing, or a trial that stays to be done."""
    space = {"training.learning_rate": Choices((0.01, 0.02))}
    study, plan = open_again(tmp_path, space)
    tell = type(study._storage).set_trial_state_values

    def full(self, trial_id, state, values=None):
        if state.is_finished():
            raise optuna.exceptions.StorageInternalError("x") from OSError("database or disk is full")
        return tell(self, trial_id, state, values)

    with monkeypatch.context() as patched:
        patched.setattr(type(study._storage), "set_trial_state_values", full)
        with pytest.raises(CannotWrite, match="database or disk is full; go on with --resume"):
            work(study, plan, tmp_path, build_of(tabular()))
    work(study, plan, tmp_path, build_of(tabular()))
    assert [trial.state.name for trial in real_trials(study)] == ["COMPLETE"] * 2


def wine():
    return example().TASK.data(SimpleNamespace(data="wine"), None)


def test_the_front_is_what_nobody_beats():
    """Against the definition, on points with ties."""
    rng = np.random.default_rng(0)
    points = [tuple(map(float, point)) for point in rng.integers(0, 6, (60, 2))]
    beaten = {
        i for i, j in product(range(60), repeat=2)
        if points[j][0] >= points[i][0] and points[j][1] <= points[i][1] and points[i] != points[j]
    }  # fmt: skip
    assert set(pareto_front(points)) == set(range(60)) - beaten


def test_the_page_says_what_to_do_next(tmp_path):
    """Best settings with three seeds, the front against what differs, no trial forgotten; and nothing from outside."""
    study, plan = swept(tmp_path, {"training.learning_rate": Choices((0.02, 1e-6)), "points": Choices((4, 8))})
    found = write_sweep(study, plan, tmp_path, tabular())
    best = max(range(4), key=lambda n: scores(study)[n])
    assert found["best"] == best
    assert found["cost"] == "params"  # curves of 8 points have twice the numbers of curves of 4
    assert found["trials"][1]["cost"]["params"] == 2 * found["trials"][0]["cost"]["params"]
    assert "seeds=3" in found["command"]
    assert command_of(replace(plan, fixed=("seeds=2", "points=4")), {}, seeds=3).count("seeds=") == 1
    assert f"points={(4, 8)[best % 2]}" in found["command"]
    page = (tmp_path / records.REPORT).read_text()
    assert found["command"].split()[0] in page
    assert all(f"trial {number}" in page for number in range(4))
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_path_of_a_user(tmp_path, capsys):
    """Sweep, the refusal to sweep again unasked, and a printed command that `distill` takes."""
    words = ["sweep", "digits", "--out", tmp_path / "s", "training.learning_rate=1e-3,3e-3"]
    words += ["training.epochs=1", "data.train_limit=60", "training.device=cpu", "student.depth=1"]
    assert main([*map(str, words)]) == 0
    text = capsys.readouterr().out
    command = next(line for line in text.splitlines() if "stillhouse distill" in line)
    assert main([*shlex.split(command)[1:], "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    found = records.read_json(tmp_path / "s" / "sweep.json")
    best = found["trials"][found["best"]]["settings"]
    assert printed["training"]["learning_rate"] == best["training.learning_rate"]
    assert (printed["seeds"], printed["training"]["epochs"]) == (3, 1)
    assert main([*map(str, words)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*map(str, words), "--resume"]) == 0  # nothing is left to do


@pytest.mark.slow
def test_two_workers_share_the_trials(tmp_path, capfd, monkeypatch):
    """Each prints its own trials, none is trained twice, and what came of it is said once."""
    words = ["sweep", "digits", "--out", tmp_path / "s", "--workers", "2", "training.learning_rate=1e-3,2e-3,3e-3"]
    words += [
        "training.epochs=1",
        "data.train_limit=60",
        "training.device=cpu",
        "student.depth=1",
        "training.threads=1",
    ]
    assert main([*map(str, words)]) == 0
    printed = capfd.readouterr().out
    assert sorted(re.findall(r"^trial (\d)", printed, re.MULTILINE)) == ["0", "1", "2"]
    assert printed.count("best: trial") == 1
    assert [trial["state"] for trial in records.read_json(tmp_path / "s" / "sweep.json")["trials"]] == ["done"] * 3
    monkeypatch.setenv(WORKER, "1")  # one of them, which finds nothing left
    assert main([*map(str, [word for word in words if word not in ("--workers", "2")]), "--resume"]) == 0
    assert "best: trial" not in capfd.readouterr().out
