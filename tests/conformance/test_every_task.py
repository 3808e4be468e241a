"""What every task promises, asked of each of them in the same words."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch

from stillhouse.cli.main import main
from stillhouse.core import pipeline, records
from stillhouse.core.checks import InputError, Interrupted
from stillhouse.core.config import ConfigError
from stillhouse.core.experiment import run
from stillhouse.core.parts import TeacherAtChance
from stillhouse.core.verdict import overall_verdict
from stillhouse.tasks import task, task_of


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / records.STUDENT)


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def history(folder):
    """Every record of a training but the times."""
    return [
        {k: v for k, v in line.items() if k != "seconds"} for line in records.read_records(folder / records.RECORDS)
    ]


def again(made, out, **choices):
    case = made.case
    return run(task(case.task), choices.pop("config", None) or case.config(), out, **choices)


def test_a_run_leaves_what_it_promises(made):
    """Verdict, arms, student and report: what other programs and people look for."""
    for name in (records.RUN, records.SUMMARY, records.REPORT, "student/" + records.CARD):
        assert (made.out / name).is_file(), name
    summary = json.loads((made.out / records.SUMMARY).read_text())
    labels = {metric["name"]: metric["label"] for metric in summary["metrics"]}
    assert (
        summary["verdict"]
        == overall_verdict(summary["comparisons"], labels)
        == "not tested (1 seed; a verdict needs 3)"
    )
    first = task(made.case.task).metrics[0].name
    assert all(first in figures for figures in summary["arms"].values())
    assert json.loads((made.out / records.RUN).read_text())["kind"] == made.case.task
    assert task_of(made.case.config()) is task(made.case.task)


def test_the_taught_arm_is_shipped(made):
    """With the control first in the list, the control was what users got."""
    assert made.summary["shipped"]["arm"] == made.case.taught
    shipped, arm = made.out / "student", made.out / "arms" / made.case.taught / "seed-0"
    assert same_weights(weights_of(shipped), weights_of(arm))


@pytest.mark.kinds("clauses", "images", "lm", "sar")
def test_both_arms_of_a_seed_begin_alike_and_see_equal_rows(made, tmp_path, monkeypatch):
    """Asserted on weights, rows and the state of the generator that dropout draws from: ends that differ prove nothing."""
    seen = {}
    original = pipeline.fit

    def watched(job, *rest, **more):
        name = more["folder"].parent.name
        start = {key: value.clone() for key, value in job.model.state_dict().items()}
        terms, drawn = job.terms, []
        seen[name] = (start, [job.order(epoch) for epoch in range(2)], drawn)
        monkeypatch.setattr(job, "terms", lambda *asked: (drawn.append(torch.get_rng_state()), terms(*asked))[1])
        return original(job, *rest, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    again(made, tmp_path / "run")
    taught, control = seen[made.case.taught], seen[made.case.control]
    assert same_weights(taught[0], control[0])
    assert all(torch.equal(a, b) for a, b in zip(taught[1], control[1], strict=True))
    assert len(taught[2]) > 1
    assert all(torch.equal(a, b) for a, b in zip(taught[2], control[2], strict=True))


@pytest.mark.kinds("clauses", "images", "lm", "sar")
def test_the_control_never_hears_the_teacher(made, tmp_path, monkeypatch):
    """By no door: no signal, no teacher, no curriculum that the teacher ordered."""
    stage_contexts = []
    original = type(task(made.case.task)).job

    def watched(self, stage_context):
        stage_contexts.append(stage_context)
        return original(self, stage_context)

    monkeypatch.setattr(type(task(made.case.task)), "job", watched)
    # a curriculum is the door that is easily left open: its order is the teacher's knowledge
    again(made, tmp_path / "run", config=made.case.config(curriculum={"by_class": False, "measures": ["loss"]}))
    control = [stage_context for stage_context in stage_contexts if stage_context.arm.name == made.case.control]
    taught = [stage_context for stage_context in stage_contexts if stage_context.arm.name == made.case.taught]
    assert control
    assert all(
        stage_context.curriculum is not None and stage_context.stage_teacher is not None for stage_context in taught
    )
    for stage_context in control:
        assert stage_context.stage_teacher is None
        assert stage_context.curriculum is None
        assert stage_context.stage.signals == ()
        assert not stage_context.arm.taught


@pytest.mark.parametrize("step", [1, 3])
def test_a_stopped_run_resumes_to_the_bit(made, tmp_path, monkeypatch, step):
    """A stop anywhere equals no stop: the same records, the same weights."""
    from stillhouse.training import loop

    original = loop._Trainer._step
    taken = {"steps": 0}

    def counted(self, rows):
        found = original(self, rows)
        taken["steps"] += 1
        if taken["steps"] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(loop._Trainer, "_step", counted)
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="resume"):
        again(made, out)
    again(made, out, resume=True)
    arms = [
        name for name in made.summary["arms"] if (made.out / "arms" / name / "seed-0" / records.CHECKPOINT).is_file()
    ]
    for arm in arms:
        here, there = (base / "arms" / arm / "seed-0" for base in (out, made.out))
        assert history(here) == history(there), arm
        assert same_weights(weights_of(here), weights_of(there)), arm


def test_a_finished_run_is_not_trained_again(copied):
    """Resume of what is finished reads and writes, and trains nothing."""
    stamps = {p: p.stat().st_mtime_ns for p in copied.out.rglob(records.RESULT)}
    assert stamps
    again(copied, copied.out, resume=True)
    assert stamps == {p: p.stat().st_mtime_ns for p in copied.out.rglob(records.RESULT)}


def test_a_run_grows_by_seeds(copied):
    """The seeds that are there stay, the new one is trained."""
    first = copied.out / "arms" / copied.case.taught / "seed-0" / records.STUDENT
    before = first.read_bytes()
    summary = again(copied, copied.out, config=copied.case.config(seeds=2), resume=True)
    assert len(summary["seeds"]) == 2
    assert first.read_bytes() == before
    assert (copied.out / "arms" / copied.case.taught / "seed-1" / records.RESULT).is_file()


def test_changed_settings_are_refused(copied):
    """Another configuration under --resume would mix two runs in one table."""
    changed = copied.case.config(training={"learning_rate": 0.0123})
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        again(copied, copied.out, config=changed, resume=True)


@pytest.mark.kinds("clauses", "embed", "images", "lm")
def test_changed_data_are_refused(spoiled, tmp_path):
    """Other rows under the same path: arms of two data sets in one comparison."""
    out = tmp_path / "run"
    shutil.copytree(spoiled.out, out)
    spoiled.case.change_data()
    with pytest.raises(InputError, match=r"data of the run|text of the run"):
        again(spoiled, out, resume=True)


def test_a_changed_teacher_is_refused(spoiled, tmp_path):
    """Other weights under the same path: half of the seeds would have learned from someone else."""
    out = tmp_path / "run"
    shutil.copytree(spoiled.out, out)
    shutil.rmtree(out / "arms" / spoiled.case.taught)  # something is left to do
    spoiled.case.change_teacher()
    with pytest.raises(InputError, match=r"teacher of the run|data of the run"):
        again(spoiled, out, resume=True)


def test_a_teacher_at_chance_is_refused_the_same_way(spoiled, tmp_path, capsys):
    """One exception, exit status 3, by `distill` and by `check`; nothing that looks like a run is left."""
    changes = spoiled.case.poor_teacher()
    out = tmp_path / "run"
    with pytest.raises(TeacherAtChance, match="chance"):
        again(spoiled, out, config=spoiled.case.config(**changes))
    assert not (out / records.RUN).exists()
    file = str(spoiled.case.file(**changes))
    assert main(["distill", file, "--out", str(out)]) == 3
    assert main(["check", file]) == 3


def test_ctrl_c_says_what_is_saved_and_how_to_continue(made, tmp_path, monkeypatch, capsys):
    """A user who stops a run must not have to look for the way back."""
    from stillhouse.training import loop

    original = loop._Trainer._step

    def stopping(self, rows):
        found = original(self, rows)
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(loop._Trainer, "_step", stopping)
    assert main(["distill", str(made.case.file()), "--out", str(tmp_path / "run")]) == 130
    printed = capsys.readouterr().err
    assert "saved" in printed
    assert "--resume" in printed


def test_evaluate_gives_the_score_of_the_run(made, capsys):
    """The shipped student, scored again from its files, is the student of the table."""
    assert main(["evaluate", str(made.out)]) == 0
    found = json.loads(capsys.readouterr().out)
    first = task(made.case.task).metrics[0].name
    result = json.loads((made.out / "arms" / made.case.taught / "seed-0" / records.RESULT).read_text())
    assert found[first] == pytest.approx(result["metrics"][first], rel=1e-5)


def test_evaluate_refuses_changed_test_data(spoiled, capsys):
    """Other rows under the same path would give another figure under the name of the run."""
    if spoiled.case.kind == "sar":  # simulated lines have no path: the run is said to have had others
        path = spoiled.out / records.RUN
        before, known = path.read_bytes(), records.read_json(path)
        records.write_json(path, {**known, "data": {**known["data"], "sha256": "0" * 64}})
        assert main(["evaluate", str(spoiled.out)]) == 2
        path.write_bytes(before)
    else:
        spoiled.case.change_data()
        assert main(["evaluate", str(spoiled.out)]) == 2
    assert re.search("not those of the run|not what the run", capsys.readouterr().err)


def test_settings_that_nothing_reads_are_refused(made):
    """A setting of another task is an unknown key, not a silent one."""
    key, value = made.case.unknown.split("=")
    changes = value
    for part in reversed(key.split(".")):
        changes = {part: changes}
    with pytest.raises(ConfigError):
        made.case.config(**changes)


def test_a_folder_that_holds_something_else_is_left_alone(made, tmp_path):
    """Nothing of the user's is overwritten."""
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run folder"):
        again(made, out)
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_a_run_that_is_there_needs_resume(copied):
    """The second run into one folder is refused, with the way on."""
    with pytest.raises(InputError, match="--resume"):
        again(copied, copied.out)


def too_large(*rest, **more):
    raise RuntimeError("CUDA out of memory. Tried to allocate 9 TiB")


def refused(*rest, **more):
    raise InputError("the gradient is not finite")


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("stillhouse.core.pipeline.fit", refused),
        ("stillhouse.core.pipeline.fit", too_large),
    ],
    ids=["first-step", "memory"],
)
def test_what_is_refused_before_anything_is_trained_leaves_nothing(made, tmp_path, monkeypatch, place, broken):
    """`--student-clauses 1000000000000 --out o` left o/run.json, and the next try met "holds a run already"."""
    monkeypatch.setattr(place, broken)
    with pytest.raises((InputError, RuntimeError)):
        again(made, tmp_path / "new" / "run")
    left = [entry.name for entry in (tmp_path / "new").rglob("*")]
    assert not left or set(left) & set(task(made.case.task).Config.may_hold)  # but for a cache that took hours
    (tmp_path / "mine").mkdir()
    with pytest.raises((InputError, RuntimeError)):
        again(made, tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()  # it was the user's


def test_a_refusal_takes_nothing_from_a_run_that_goes_on(copied, monkeypatch):
    """What was trained before stays, whatever a resumed run meets."""
    before = {path for path in copied.out.rglob("*") if path.is_file()}
    monkeypatch.setattr(pipeline, "fit", refused)
    with pytest.raises(InputError, match="not finite"):
        again(copied, copied.out, config=copied.case.config(seeds=2), resume=True)
    assert before <= set(copied.out.rglob("*"))


def test_a_run_that_trained_nothing_does_not_block_the_next(made, tmp_path):
    """Killed between `run.json` and the first checkpoint; what it left is not believed either."""
    out = tmp_path / "run"
    out.mkdir()
    for name in (records.RUN, records.TEACHER):
        if (made.out / name).is_file():
            shutil.copyfile(made.out / name, out / name)
    for file in made.out.glob("*.npz"):  # neighbours of other rows, say
        arrays = records.read_arrays(file)
        records.write_arrays(out / file.name, **{name: np.flip(values) for name, values in arrays.items()})
    again(made, out)
    arm = made.case.taught
    assert same_weights(*(weights_of(run / "arms" / arm / "seed-0") for run in (out, made.out)))
    with pytest.raises(InputError, match="holds a run already"):
        again(made, out)
