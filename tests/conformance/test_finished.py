"""A finished run, run again: its teacher is neither fitted nor asked, and the summary is that of before."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from stillhouse.core import experiment, records
from stillhouse.core.callback import Callback
from stillhouse.core.manifest import list_files
from stillhouse.tasks import task


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
    for name in ("teacher_check", "stage_teachers", "score", "job", "finish"):
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
        list_files(copied.out)
    found = again(copied, copied.out)
    assert student.is_file()
    assert set(found["arms"]) == set(copied.summary["arms"])
    assert records.read_json(summary)["arms"].keys() == copied.summary["arms"].keys()
