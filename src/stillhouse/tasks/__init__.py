"""The tasks of students; each is one package, and none imports another. `TASKS` is the only list."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.folder import student_folder
from stillhouse.core.manifest import run_above
from stillhouse.core.records import CARD, RUN, read_object

if TYPE_CHECKING:
    from stillhouse.core.predict import Predictor
    from stillhouse.core.task import Results, Task

TASKS = ("classification", "sar", "lm", "embed")


def task(kind: str) -> Task[Any, Any]:
    """The task of a name, imported now.

    Raises:
        InputError: there is none of that name.
    """
    _known(kind)
    found: Task[Any, Any] = import_module(f"stillhouse.tasks.{kind}.task").TASK
    return found


def results(kind: str) -> Results:
    """What the task of a name makes of the files of its runs, imported now; torch is not.

    Raises:
        InputError: there is none of that name.
    """
    _known(kind)
    found: Results = import_module(f"stillhouse.tasks.{kind}.results").RESULTS
    return found


def _known(kind: str) -> None:
    if kind == "teacher":
        raise InputError(
            "expected a run, got a trained teacher; it teaches a run as teacher.source=ckpt:FILE of its weights"
        )
    if kind in ("images", "clauses"):
        raise InputError(
            f"task {kind!r} is of stillhouse before 2026-11-23, whose folders do not open; train it again (classification)"
        )
    if kind not in TASKS:
        raise InputError(f"task {kind!r} is not known; {nearest(kind, TASKS)}")


def results_at(folder: Path) -> Results:
    """The same of a run folder.

    Raises:
        InputError: it is none, or of no task that is known.
    """
    named = _read_run_or_card(Path(folder)).get("kind")
    return task_at(folder) if named is None else results(str(named))


def task_of(config: Any) -> Task[Any, Any]:
    """The task whose run a configuration is.

    Raises:
        InputError: no task has such a configuration.
    """
    for kind in TASKS:
        found = task(kind)
        if type(config) is found.Config:
            return found
    raise InputError(f"expected the configuration of a run, got {type(config).__name__}")


def task_at(folder: Path) -> Task[Any, Any]:
    """The task of a run folder, or of the folder of a student.

    Raises:
        InputError: neither, or of no task that is known.
    """
    about = _read_run_or_card(Path(folder))
    named = about.get("kind") or about.get("task")
    if named is None:
        raise InputError(
            f"{folder}: expected a run or student that names its task, got one of an earlier version; make it again"
        )
    return task(str(named))


def load(path: str | Path) -> Predictor:
    """The student of a run, or of a student's own folder, with `predict`, `transform` and `classes`.

    Args:
        path: a run folder (`runs/demo`: the student that it ships), the folder of one (`runs/demo/arms/kd/seed-0`), or what
            `stillhouse export --to packed`, `numpy` or `onnx` wrote, which needs no torch.

    Raises:
        InputError: neither, or files that were changed since.

    Example:
        student = stillhouse.load("runs/demo")
        student.predict(["photo.png"])       # [{"class": "7", "probability": 0.98, "probabilities": {...}}]
    """
    place = Path(path).expanduser()
    for kind in TASKS:
        if (found := results(kind).load_exported(place)) is not None:
            return found
    if place.suffix == ".pt2" and place.is_file():
        raise InputError(
            f"{place}: a program of torch.export knows neither names nor units; predict with the run or student that it was "
            "written from, or call torch.export.load(FILE).module() on what that one's `transform` gives"
        )
    if place.is_file():
        raise InputError(f"{place}: expected a run, a student, or an export of one (packed, numpy, onnx)")
    return task_at(place).predictor(place)


def _read_run_or_card(folder: Path) -> Mapping[str, Any]:
    """`run.json` of the run that a folder belongs to, or the card of a student."""
    run = run_above(folder)
    return dict(read_object(run / RUN if run is not None else student_folder(folder) / CARD, {}))
