"""The job of learning classes, from labels and from what a teacher says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from stillhouse.curricula import Curriculum
from stillhouse.data import ImageData
from stillhouse.layers.taps import Tapped
from stillhouse.losses import label_cross_entropy
from stillhouse.metrics import evaluate
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Job, Terms, Validation
from stillhouse.training.loop import Fit, fit
from stillhouse.training.predict import predict
from stillhouse.types import Batch, Outputs, Progress


@dataclass(frozen=True)
class Lesson:
    """What is learnt beside the labels: who tells, which signals compare, which student features they need.

    Attributes:
        teacher: called with a `Batch`, gives `Outputs`; None where the signals need none.
        signals: modules with `name` and `weight`, (said, told, batch, progress) -> (B,) or a scalar.
        features: module paths that are tapped in the student.
        validation_probabilities: (N, K) of the teacher on the validation split, for agreement.
        curriculum: which rows come first, and how much labels and signals count in each of its stages.
    """

    teacher: Callable[[Batch], Outputs] | None = None
    signals: nn.ModuleList = field(default_factory=nn.ModuleList)
    features: tuple[str, ...] = ()
    validation_probabilities: np.ndarray | None = None
    curriculum: Curriculum | None = None


class ClassificationJob(Job):
    """Labelled rows -> logits (B, K); the label cross-entropy and one term a signal.

    Args:
        model: (B, C, H, W) pixels in [0, 1] -> logits (B, K).
        data: splits; only `train` and `validation` are read.
        config: weight and smoothing of the labels, size of a scoring batch.
        seed: decides order and augmentation.
        lesson: teacher and signals; labels alone if None.
    """

    def __init__(
        self, model: nn.Module, data: ImageData, config: TrainingConfig, *, seed: int, lesson: Lesson | None = None
    ) -> None:
        self.lesson = lesson or Lesson()
        super().__init__(model, rows=len(data.train), seed=seed, extras=self.lesson.signals)
        self.data, self.config = data, config
        self.student = Tapped(model, self.lesson.features)
        teacher: Any = self.lesson.teacher
        self.follower = teacher if hasattr(teacher, "update") else None
        self.active: list[Any] = [signal for signal in self.lesson.signals if signal.weight > 0]  # type: ignore[operator]

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """Labels, every signal of non-zero weight, and what a signal adds to keep itself in bounds."""
        batch = self._batch(rows, progress.step)
        said = self.student(batch.inputs)
        said = Outputs(said.logits.float(), {n: x if x.is_complex() else x.float() for n, x in said.features.items()})
        terms: Terms = {}
        factors = (
            {"labels": 1.0, "signals": 1.0} if self.lesson.curriculum is None else self.lesson.curriculum.weights()
        )
        if self.config.label_weight * factors["labels"] > 0:
            value = label_cross_entropy(said.logits, batch.labels, smoothing=self.config.label_smoothing).mean()
            terms["labels"] = (self.config.label_weight * factors["labels"], value)
        if self.active and factors["signals"] > 0:
            told = (
                said if self.lesson.teacher is None else self.lesson.teacher(self._teachers_view(batch, progress.step))
            )
            for signal in self.active:
                terms[signal.name] = (signal.weight * factors["signals"], signal(said, told, batch, progress).mean())
                for name, term in _optional(signal, "regularizers").items():
                    terms[f"{signal.name}/{name}"] = term
        return terms

    def _batch(self, rows: Tensor, step: int, draw: int = 0) -> Batch:
        """Rows as they are seen at a step: augmentation is a function of seed, step and draw."""
        batch = self.data.train.batch(rows)
        inputs = self.data.augment(batch.inputs, seed=(self.seed + 500_009 * draw) * 1_000_003 + step)
        return Batch(*(x.to(self.device) for x in (inputs, batch.labels, batch.index)))

    def _teachers_view(self, batch: Batch, step: int) -> Batch:
        """The very tensors that the student sees, unless the configuration asks for the worse alternatives."""
        if self.config.teacher_view == "same":
            return batch
        if self.config.teacher_view == "independent":
            return self._batch(batch.index.cpu(), step, draw=1)
        clean = self.data.train.batch(batch.index.cpu())
        return Batch(clean.inputs.to(self.device), batch.labels, batch.index)

    def validate(self, model: nn.Module) -> Validation:
        """Accuracy first, then negative log-likelihood."""
        split = self.data.validation
        size = self.config.evaluation_batch_size
        probabilities = predict(lambda batch: model(batch.inputs.to(self.device)), split, size)
        metrics = evaluate(probabilities, split.labels.numpy(), self.lesson.validation_probabilities)
        return Validation(metrics, (metrics["accuracy"] or 0.0, -(metrics["nll"] or 0.0)))

    def figures(self) -> dict[str, float]:
        """What the signals want to be seen: `signal/figure`."""
        found = self._of_signals("figures")
        if self.lesson.curriculum is not None:
            found |= {f"curriculum/{name}": value for name, value in self.lesson.curriculum.figures().items()}
        return {name: float(value) for name, value in found.items()}

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch, as the curriculum has them."""
        return super().order(epoch) if self.lesson.curriculum is None else self.lesson.curriculum.order(epoch)

    @property
    def stage(self) -> tuple[int, int]:
        """The curriculum's."""
        curriculum = self.lesson.curriculum
        return (0, 1) if curriculum is None else (curriculum.stage, curriculum.stages)

    def observe(self, validation: Validation, progress: Progress) -> None:
        """Let the curriculum see whether it is time for its next stage."""
        if self.lesson.curriculum is not None:
            self.lesson.curriculum.observe(validation.metrics, progress.step, progress.fraction)

    def bounds(self) -> dict[str, tuple[float, float]]:
        """The bounds of those figures that have any."""
        return self._of_signals("bounds")

    def _of_signals(self, method: str) -> dict[str, Any]:
        return {
            f"{signal.name}/{name}": value
            for signal in self.active
            for name, value in _optional(signal, method).items()
        }

    def stepped(self, step: int) -> None:
        """A teacher that follows the student (an average of its weights) moves with it."""
        if self.follower is not None:
            self.follower.update(self.model, step - 1)

    def state_dict(self) -> dict[str, Any]:
        """The weights of a teacher that follows the student, and where the curriculum stands."""
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        parts = {"teacher": self.follower, "curriculum": self.lesson.curriculum}
        return {name: part for name, part in parts.items() if part is not None}

    def close(self) -> None:
        """Take the taps off the student."""
        self.student.close()


def _optional(signal: Any, name: str) -> Mapping[str, Any]:
    method = getattr(signal, name, None)
    return method() if callable(method) else {}


def fit_classifier(
    model: nn.Module,
    data: ImageData,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    lesson: Lesson | None = None,
    resume: bool = False,
    tell: Callable[[Progress, Mapping[str, float | None]], None] = lambda progress, news: None,
) -> Fit:
    """`fit` of a `ClassificationJob`; see both."""
    job = ClassificationJob(model, data, config, seed=seed, lesson=lesson)
    return fit(job, config, seed=seed, folder=folder, resume=resume, tell=tell)
