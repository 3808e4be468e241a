"""The job of learning classes, from labels and from what a teacher says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from stillhouse.classification.data import ImageData
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.mixing import mix
from stillhouse.classification.predict import predict
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, ImageTask, Outputs, Progress
from stillhouse.curricula import Curriculum
from stillhouse.families.clauses.specialize import has_clauses, specialize
from stillhouse.layers.part import regularizers
from stillhouse.layers.taps import Tapped
from stillhouse.losses import label_cross_entropy
from stillhouse.signals import Signal, signals_in
from stillhouse.teachers.average import AverageTeacher
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.config import TrainingConfig
from stillhouse.training.job import Job, Terms, Validation
from stillhouse.training.loop import Fit, fit

T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """What is learnt beside the labels: who tells, which signals compare, which student features they need.

    Attributes:
        teacher: called with a `Batch`, gives `Outputs`; None where the signals need none.
        signals: `Signal`s that compare the student's outputs with the teacher's.
        features: module paths that are tapped in the student.
        validation_probabilities: (N, K) of the teacher on the validation split, for agreement.
        curriculum: which rows come first, and how much labels and signals count in each of its stages.
        own: signals that need no teacher, learnt in every stage of a curriculum alike.
        average: the student's moving average, which tells `own`; None: they are told what the student said.
    """

    teacher: Callable[[Batch], Outputs] | None = None
    signals: nn.ModuleList = field(default_factory=nn.ModuleList)
    features: tuple[str, ...] = ()
    validation_probabilities: np.ndarray | None = None
    curriculum: Curriculum | None = None
    own: nn.ModuleList = field(default_factory=nn.ModuleList)
    average: AverageTeacher | None = None


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
        extras = nn.ModuleList([*self.lesson.signals, *self.lesson.own])
        super().__init__(model, rows=len(data.train), seed=seed, extras=extras)
        self.data, self.config = data, config
        if config.mixing.on and not isinstance(data.task, ImageTask):
            raise InputError("training.mixing: mixup and CutMix mix images; this data set has none")
        self.seen = (0.0, 0)
        self.student = Tapped(model, self.lesson.features)
        teachers = {"teacher": self.lesson.teacher, "average": self.lesson.average}
        self.followers = {name: x for name, x in teachers.items() if isinstance(x, Teacher)}
        self.active = [signal for signal in signals_in(self.lesson.signals) if signal.weight > 0]
        self.own = [signal for signal in signals_in(self.lesson.own) if signal.weight > 0 or signal.always]

    def terms(self, rows: Tensor, progress: Progress) -> Terms:
        """Labels, every signal of non-zero weight, and what a signal adds to keep itself in bounds."""
        batch = self._batch(rows, progress)
        said = self.student(batch.inputs)
        said = Outputs(said.logits.float(), {n: x if x.is_complex() else x.float() for n, x in said.features.items()})
        if self.config.report_train:
            self._count(said.logits, batch)
        terms: Terms = {}
        factors = (
            {"labels": 1.0, "signals": 1.0} if self.lesson.curriculum is None else self.lesson.curriculum.weights()
        )
        if self.config.label_weight * factors["labels"] > 0:
            value = label_cross_entropy(said.logits, batch.targets, smoothing=self.config.label_smoothing).mean()
            terms["labels"] = (self.config.label_weight * factors["labels"], value)
        if self.active and factors["signals"] > 0:
            told = said if self.lesson.teacher is None else self.lesson.teacher(self._teachers_view(batch, progress))
            terms |= self._compare(self.active, said, told, batch, progress, factors["signals"])
        if self.own:
            told = said if self.lesson.average is None else self.lesson.average(batch)
            terms |= self._compare(self.own, said, told, batch, progress, 1.0)
        return {**terms, **regularizers(self.model)}

    def _compare(
        self, signals: list[Signal], said: Outputs, told: Outputs, batch: Batch, progress: Progress, factor: float
    ) -> Terms:
        terms: Terms = {}
        for signal in signals:
            terms[signal.name] = (signal.weight * factor, signal(said, told, batch, progress).mean())
            for name, term in signal.regularizers().items():
                terms[f"{signal.name}/{name}"] = term
        return terms

    def _batch(self, rows: Tensor, progress: Progress, draw: int = 0) -> Batch:
        """Rows as they are seen at a step: augmentation and mixing are functions of seed, step and draw."""
        batch = self.data.train.batch(rows)
        seed = (self.seed + 500_009 * draw) * 1_000_003 + progress.step
        batch = replace(batch, inputs=self.data.augment(batch.inputs, seed=seed))
        mixup, cutmix = self.config.mixing.alphas_at(progress, self.config.epochs)
        if (mixup > 0 or cutmix > 0) and len(rows) > 1:  # a last row alone has no partner
            batch = mix(batch, mixup=mixup, cutmix=cutmix, num_classes=self.data.task.num_classes, seed=seed)
        soft = None if batch.soft_labels is None else batch.soft_labels.to(self.device)
        inputs, labels, index = (x.to(self.device) for x in (batch.inputs, batch.labels, batch.index))
        return Batch(inputs, labels, index, soft)

    def _teachers_view(self, batch: Batch, progress: Progress) -> Batch:
        """The very tensors that the student sees, unless the configuration asks for the worse alternatives."""
        if self.config.teacher_view == "same":
            return batch
        if self.config.teacher_view == "independent":
            return self._batch(batch.index.cpu(), progress, draw=1)
        clean = self.data.train.batch(batch.index.cpu())
        return Batch(clean.inputs.to(self.device), batch.labels, batch.index)

    def validate(self, model: nn.Module) -> Validation:
        """Accuracy first, then negative log-likelihood; accuracies of read-outs on the way as `component/PLACE`."""
        split, size = self.data.validation, self.config.evaluation_batch_size
        tapped = Tapped(model, self.lesson.features)
        right: dict[str, int] = {}

        def logits_of(batch: Batch) -> Tensor:
            said = tapped(batch.inputs.to(self.device))
            for signal in (*self.active, *self.own):
                for place, logits in signal.exit_logits(said).items():
                    right[place] = right.get(place, 0) + int((logits.argmax(1).cpu() == batch.labels).sum())
            return said.logits

        specialized = {}
        if self.config.clause_specialize > 0 and has_clauses(model):
            specialized = specialize((self.model, model), split, self.config.clause_specialize, size)
        try:
            probabilities = predict(logits_of, split, size)
            right_of_validation = dict(right)
            test = self._test_accuracy(logits_of, size) if self.config.report_test else {}
        finally:
            tapped.close()
        metrics = evaluate(probabilities, split.labels.numpy(), self.lesson.validation_probabilities)
        rank = (metrics["accuracy"] or 0.0, -(metrics["nll"] or 0.0))
        components = {f"component/{place}": n / len(split) for place, n in right_of_validation.items()}
        return Validation({**metrics, **self._seen_accuracy(), **test, **components, **specialized}, rank)

    def _test_accuracy(self, logits_of: Callable[[Batch], Tensor], size: int) -> dict[str, float | None]:
        probabilities = predict(logits_of, self.data.test, size)
        return {"test_accuracy": float((probabilities.argmax(1) == self.data.test.labels.numpy()).mean())}

    def _count(self, logits: Tensor, batch: Batch) -> None:
        """Right answers since the last validation; of a mixed image the share of the class that is named."""
        named = logits.detach().argmax(1)
        right = (
            (named == batch.labels).float()
            if batch.soft_labels is None
            else batch.soft_labels.gather(1, named[:, None]).squeeze(1)
        )
        self.seen = (self.seen[0] + float(right.sum()), self.seen[1] + len(right))

    def _seen_accuracy(self) -> dict[str, float | None]:
        right, seen = self.seen
        self.seen = (0.0, 0)
        return {"train_accuracy": right / seen} if seen else {}

    def figures(self) -> dict[str, float]:
        """What the signals want to be seen: `signal/figure`."""
        found = _named((signal.name, signal.figures()) for signal in (*self.active, *self.own))
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
        return _named((signal.name, signal.bounds()) for signal in (*self.active, *self.own))

    def stepped(self, step: int) -> None:
        """A teacher that follows the student (an average of its weights) moves with it."""
        for follower in self.followers.values():
            follower.update(self.model, step - 1)

    def state_dict(self) -> dict[str, Any]:
        """The weights of a teacher that follows the student, where the curriculum stands, what the epoch has seen so far."""
        return {"seen": list(self.seen), **{name: part.state_dict() for name, part in self._stateful().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        right, count = state.get("seen", (0.0, 0))
        self.seen = (float(right), int(count))
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        parts = {**self.followers, "curriculum": self.lesson.curriculum}
        return {name: part for name, part in parts.items() if part is not None}

    def close(self) -> None:
        """Take the taps off the student."""
        self.student.close()


def _named(parts: Iterable[tuple[str, Mapping[str, T]]]) -> dict[str, T]:
    """`signal/figure` -> value."""
    return {f"{part}/{name}": value for part, values in parts for name, value in values.items()}


def fit_classifier(
    model: nn.Module,
    data: ImageData,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    lesson: Lesson | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress, Mapping[str, float | None]], None] = lambda progress, news: None,
) -> Fit:
    """`fit` of a `ClassificationJob`; see both."""
    job = ClassificationJob(model, data, config, seed=seed, lesson=lesson)
    return fit(job, config, seed=seed, folder=folder, resume=resume, on_progress=on_progress)
