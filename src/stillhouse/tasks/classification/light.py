"""Reports of students with classes and their packed forms in use, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core import records, task
from stillhouse.core.folder import RunFolder, read_arrays
from stillhouse.core.task import Metric

if TYPE_CHECKING:
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block


LINEAR, MAJORITY = "linear", "majority"
PLAIN = {LINEAR: "a linear classifier", MAJORITY: "the commonest class"}  # rows beside every student, in words
MOST_ROWS, MOST_NUMBERS = 5_000, 1_024  # that the linear classifier is fitted on: training rows, numbers of an image
READABLE = ("rules", "scorecard", "tree")  # students that are rules from the words to the class


class Light(task.Light):
    """Labelled rows into classes, by students of any kind."""

    kind = "classification"
    title = "classes of images and texts"

    metrics = (
        Metric("accuracy", "accuracy", "points", "test rows", scale=100, digits=2, low=0, high=1),
        Metric("nll", "negative log-likelihood (nats)", "nats", "test rows", lower_is_better=True, low=0),
        Metric("ece", "calibration error (ECE)", "points", lower_is_better=True, scale=100, digits=2, low=0, high=1),
        Metric("agreement", "agreement with the teacher", "points", "test rows", scale=100, digits=2, low=0, high=1),
    )

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """Of pictures, of texts or of tables."""
        spec = card.get("input_spec") or {}
        if "reading" in spec:
            return "text-classification" if spec["reading"].get("kind") == "words" else "tabular-classification"
        return "text-classification" if "vocabulary" in spec else "image-classification"

    def further_items(self, run: RunFolder, arm: str, seed: int) -> Mapping[str, np.ndarray]:
        """Whether the teacher names the same class; nothing of plain models."""
        path = run.path / records.TEACHER_PREDICTIONS
        if arm in PLAIN or not path.is_file():
            return {}
        both = (run.arm(arm, seed) / records.PREDICTIONS, path)
        student, teacher = (read_arrays(one, ["probabilities"])["probabilities"].argmax(1) for one in both)
        return {"agreement": student == teacher}

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """What was taught, and of students that people read the rules, with pictures."""
        from stillhouse.tasks.classification.report import blocks, screen_blocks
        from stillhouse.tasks.classification.rules_file import rule_blocks

        return [*screen_blocks(run.path), *blocks(run), *rule_blocks(run.path)]

    def load_exported(self, place: Path) -> Predictor | None:
        """A machine of clauses as `export --to packed`, `json` or `numpy` wrote it, or an ONNX file by onnxruntime."""
        from stillhouse.tasks.classification.photos import open_machine, open_onnx

        return open_machine(place) or (open_onnx(place) if place.suffix == ".onnx" and place.is_file() else None)


LIGHT = Light()
