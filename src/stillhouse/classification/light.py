"""Reports and exported students of tasks with classes, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.folder import RunFolder, read_arrays
from stillhouse.core.task import Light, Metric

if TYPE_CHECKING:
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block


LINEAR, MAJORITY = "linear", "majority"
PLAIN = {
    LINEAR: "a linear classifier",
    MAJORITY: "the commonest class",
}  # rows beside every student, as a reader calls them
MOST_ROWS, MOST_NUMBERS = 5_000, 1_024  # that the linear classifier is fitted on: training rows, numbers of an image


class ClassesLight(Light):
    """Labelled rows into classes."""

    metrics = (
        Metric("accuracy", "accuracy", "points", "test images", scale=100, digits=2, low=0, high=1),
        Metric("nll", "negative log-likelihood (nats)", "nats", "test images", lower_is_better=True, low=0),
        Metric("ece", "calibration error (ECE)", "points", lower_is_better=True, scale=100, digits=2, low=0, high=1),
        Metric("agreement", "agreement with the teacher", "points", "test images", scale=100, digits=2, low=0, high=1),
    )

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """Of pictures or of texts."""
        return "text-classification" if "vocabulary" in (card.get("task") or {}) else "image-classification"

    def further_items(self, run: RunFolder, arm: str, seed: int) -> Mapping[str, np.ndarray]:
        """Whether the teacher names the same class; nothing of plain models."""
        if arm in PLAIN:
            return {}
        student = read_arrays(run.arm(arm, seed) / records.PREDICTIONS, ["probabilities"])["probabilities"]
        path = run.path / records.TEACHER_PREDICTIONS
        if not path.is_file():
            return {}
        return {"agreement": student.argmax(1) == read_arrays(path, ["probabilities"])["probabilities"].argmax(1)}

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Agreement with the teacher by class, and calibration."""
        from stillhouse.classification.report import blocks

        return blocks(run)

    def load_exported(self, place: Path) -> Predictor | None:
        """An ONNX file of a student of images, by onnxruntime."""
        from stillhouse.classification.photos import open_onnx

        return open_onnx(place) if place.suffix == ".onnx" and place.is_file() else None
