"""Reports of students with classes and their packed forms in use, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.core.folder import RunFolder
from stillhouse.core.parts import Metric
from stillhouse.core.task import Results

if TYPE_CHECKING:
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block


class ClassificationResults(Results):
    """Labelled rows into classes, by students of any kind."""

    kind = "classification"
    title = "classes of images and texts"

    metrics = (
        Metric("accuracy", "accuracy", "points", "test rows", scale=100, digits=2, low=0, high=1),
        Metric("nll", "negative log-likelihood (nats)", "nats", "test rows", lower_is_better=True, low=0),
        Metric("ece", "calibration error (ECE)", "points", lower_is_better=True, scale=100, digits=2, low=0, high=1),
        Metric("agreement", "agreement with the teacher", "points", "test rows", scale=100, digits=2, low=0, high=1),
    )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """What was taught, and of students that people read the rules, with pictures."""
        from stillhouse.tasks.classification.report import blocks, screen_blocks
        from stillhouse.tasks.classification.rules_file import rule_blocks

        return [*screen_blocks(run.path), *blocks(run), *rule_blocks(run.path)]

    def load_exported(self, place: Path) -> Predictor | None:
        """A machine of clauses as `export --to packed` wrote it, or an ONNX file by onnxruntime."""
        from stillhouse.tasks.classification.photos import open_exported

        return open_exported(place)


RESULTS = ClassificationResults()
