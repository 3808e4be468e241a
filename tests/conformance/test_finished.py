"""A finished run, run again: its teacher is neither fitted nor asked, and the summary is that of before."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
import torch
from cases import CASES, task_of_case

from stillhouse.core import experiment, records
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.tasks import task
from stillhouse.tasks.classification import teachers


@contextmanager
def no_network():
    """Any forward pass of a network fails; up to two made-up rows, by which one that is loaded is looked over, are no question."""

    def refuse(module, inputs):
        if any(isinstance(x, torch.Tensor) and len(x) > 2 for x in inputs[:1]):
            pytest.fail(f"{type(module).__name__} was asked")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


class Lines(Callback):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


def again(made, out, **choices):
    return experiment.run(task(made.case.task), choices.pop("config", made.case.config()), out, resume=True, **choices)


def test_nobody_is_asked(copied, monkeypatch):
    """A finished sweep run again paid nine minutes of fitting teachers for nothing."""
    kind = type(task(copied.case.task))
    for name in (
        "teacher_check",
        "baseline_score",
        "prepare",
        "stage_teachers",
        "score",
        "score_teacher",
        "job",
        "on_run_end",
    ):
        monkeypatch.setattr(kind, name, lambda *a, name=name, **k: pytest.fail(f"{name} was called"))
    stamps = {path: path.stat().st_mtime_ns for path in copied.out.rglob("*.*")}
    callback = Lines()
    with no_network():
        summary = again(copied, copied.out, callback=callback)
    assert summary == records.read_json(copied.out / records.SUMMARY)
    assert summary["arms"] == copied.summary["arms"]
    assert any("finished before" in line for line in callback.lines)
    assert stamps == {path: path.stat().st_mtime_ns for path in copied.out.rglob("*.*")}


def test_a_deleted_page_is_written_again(copied):
    """It is made of files alone."""
    (copied.out / records.REPORT).unlink()
    with no_network():
        again(copied, copied.out)
    assert (copied.out / records.REPORT).is_file()


@pytest.mark.parametrize("spoil", ["missing", "other version", "damaged"])
def test_what_is_not_whole_is_concluded_again(copied, spoil):
    """A summary of files that are gone, or in another version's words, is not handed out as if it were this run's."""
    summary, student = copied.out / records.SUMMARY, copied.out / "student" / records.CARD
    if spoil == "missing":
        student.unlink()
    elif spoil == "damaged":
        summary.write_text(summary.read_text().replace("metrics", "matrics", 1))
    else:
        about = records.read_json(copied.out / records.RUN)
        records.write_json(copied.out / records.RUN, {**about, "versions": {**about["versions"], "stillhouse": "0"}})
        records.write_json(summary, {**records.read_json(summary), "arms": {}})
    found = again(copied, copied.out)
    assert student.is_file()
    assert set(found["arms"]) == set(copied.summary["arms"])
    assert records.read_json(summary)["arms"].keys() == copied.summary["arms"].keys()


@pytest.mark.parametrize("kind", ["images", "clauses"])
def test_no_head_is_fitted_again(kind, tmp_path, monkeypatch):
    """Its weights as they were built tell the teacher; fitting a head on all training images tells nothing more."""
    case = CASES[kind](tmp_path / "case")
    config = case.config(teacher={"source": "timm:test_resnet", "pretrained": False, "image_size": 32})
    out, run = tmp_path / "run", experiment.run
    fits = []
    original = teachers.fit_head
    monkeypatch.setattr(teachers, "fit_head", lambda *a, **k: fits.append(a) or original(*a, **k))
    run(task(task_of_case(kind)), config, out, force=True)
    assert len(fits) == 1
    run(task(task_of_case(kind)), config, out, force=True, resume=True)
    assert len(fits) == 1
    shutil.rmtree(out / "arms" / "kd")  # what is left to do needs the teacher
    run(task(task_of_case(kind)), config, out, force=True, resume=True)
    assert len(fits) == 2


def test_no_cache_is_compared_again(run_of, tmp_path, monkeypatch):
    """A cache beside its teacher is compared on rows drawn anew: that asks the teacher."""
    from stillhouse.cli.main import main
    from stillhouse.tasks.sar import task as radar

    made = run_of("sar")
    assert main(["cache", str(made.case.file()), "--out", str(tmp_path / "cache")]) == 0
    config, out = made.case.config(teacher_cache=str(tmp_path / "cache")), tmp_path / "run"
    experiment.run(task("sar"), config, out)
    monkeypatch.setattr(radar, "spot_check", lambda *a, **k: pytest.fail("the teacher was asked"))
    experiment.run(task("sar"), config, out, resume=True)


def test_other_data_and_teachers_are_still_refused(spoiled, tmp_path):
    """Quick, but not blind: a finished run of other weights is not this one."""
    out = tmp_path / "run"
    shutil.copytree(spoiled.out, out)
    spoiled.case.change_teacher()
    with pytest.raises(InputError, match=r"teacher of the run|data of the run"), no_network():
        again(spoiled, out)
