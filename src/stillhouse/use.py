"""`stillhouse.load(path)`: a saved student of any task, ready to be used."""

from __future__ import annotations

from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Predictor
from stillhouse.tasks import TASKS, results, task_at


def load(path: str | Path) -> Predictor:
    """The student of a run, or of a student's own folder, with `predict`, `transform` and `classes`.

    Args:
        path: a run folder (`runs/demo`: the student that it ships), the folder of one (`runs/demo/arms/kd/seed-0`), or what
            `stillhouse export --to packed`, `numpy`, `json` or `onnx` wrote, which needs no torch.

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
        raise InputError(f"{place}: expected a run, a student, or an export of one (packed, numpy, json, onnx)")
    return task_at(place).predictor(place)
