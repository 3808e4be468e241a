"""`stillhouse.load(path)`: a saved student of any family, ready to be used."""

from __future__ import annotations

from pathlib import Path

from stillhouse.core.predict import Predictor
from stillhouse.families import family_at


def load(path: str | Path) -> Predictor:
    """The student of a run, or of a student's own folder, with `predict`, `transform` and `classes`.

    Args:
        path: a run folder (`runs/demo`: the student that it ships), or the folder of one (`runs/demo/arms/kd/seed-0`).

    Raises:
        InputError: neither, or files that were changed since.

    Example:
        student = stillhouse.load("runs/demo")
        student.predict(["photo.png"])       # [{"class": "7", "probability": 0.98, "probabilities": {...}}]
    """
    place = Path(path).expanduser()
    return family_at(place).predictor(place)
