"""Settings that are legal and do nothing, or not what they seem to: listed before a run, and written with it. No torch.

What can never work is an error where it is written (`__post_init__`, `build`); here is what only the whole configuration shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stillhouse.core.plan import Stage
from stillhouse.signals import needs_teacher, teacher_features
from stillhouse.tasks.classification.plan import ClassificationRunConfig


def unused_settings(config: ClassificationRunConfig) -> tuple[str, ...]:
    """One line a setting without effect, each with its place and what would give it one.

    Example:
        >>> from stillhouse.tasks.classification.plan import RunTrainingConfig
        >>> training = RunTrainingConfig(label_weight=0.0, label_smoothing=0.1)
        >>> print(unused_settings(ClassificationRunConfig(training=training, arms=("kd",)))[0])
        training.label_smoothing: 0.1 does nothing, since label_weight is 0
    """
    found = [*_training(config), *_teachers(config), *_whole(config)]
    for stage in config.stages_of("kd" in config.arms or config.reference == "kd"):
        found += _stage(config, stage)
    return tuple(dict.fromkeys(found))


def _training(config: ClassificationRunConfig) -> Iterator[str]:
    training = config.training
    if training.label_smoothing and training.label_weight == 0:
        yield f"training.label_smoothing: {training.label_smoothing} does nothing, since label_weight is 0"
    if training.warmup_epochs >= training.epochs:
        yield f"training.warmup_epochs: {training.warmup_epochs} of {training.epochs}; the peak learning rate is never reached"
    if training.teacher_view != "same" and not _augments(config):
        yield f"training.teacher_view: {training.teacher_view!r} does nothing without augmentation (data.augment)"
    if getattr(config.data, "views", None) is not None and not _augments(config):
        yield "data.views: does nothing without augmentation (data.augment)"
    if training.optimizer == "dot" and (training.label_weight == 0 or not _taught(config)):
        yield "training.optimizer: 'dot' keeps labels and teacher apart, and one of them is missing; sgd does the same"


def _augments(config: ClassificationRunConfig) -> bool:
    return getattr(config.data, "augment", "none") != "none" or getattr(config.data, "randaugment", False)


def _taught(config: ClassificationRunConfig) -> bool:
    return bool({"kd", "direct"}.intersection(config.arms))


def _whole(config: ClassificationRunConfig) -> Iterator[str]:
    """What a run sets for all its stages, where every stage sets it itself; a curriculum that does not fit them."""
    each = config.stages and all(stage.signals is not None for stage in config.stages)
    if each and config.signals != type(config)().signals:
        yield "signals: do nothing, since every stage has signals of its own"
    for name in ("epochs", "learning_rate", "label_weight"):
        given = getattr(config.training, name)
        changed = given != getattr(type(config.training)(), name)
        if config.stages and changed and all(getattr(stage, name) is not None for stage in config.stages):
            yield f"training.{name}: {given} does nothing, since every stage has its own"
    if config.difficulty_model != "teacher" and config.curriculum is None:
        yield f"difficulty_model: {config.difficulty_model!r} does nothing without a curriculum"
    stages = 0 if config.curriculum is None else len(config.curriculum.shares)
    for stage in config.stages_of(True):
        if stage.training.epochs < stages:
            where = "" if stage.name == "whole" else f"stages ({stage.name}): "
            yield (
                f"{where}curriculum.shares: {stages} stages in {stage.training.epochs} epochs; the last ones, with the hardest "
                "samples, are never reached"
            )


def _teachers(config: ClassificationRunConfig) -> Iterator[str]:
    taught = _taught(config)
    if config.teacher is not None and not taught and config.reference != "kd":
        yield "teacher: no arm is taught; it is only asked how far students agree with it"
    if config.more_teachers and not any(s.kind == "ensemble" or teacher_features((s,)) for s in config.signals):
        yield "more_teachers: no signal of kind 'ensemble' weighs them; signals see the mean of their probabilities"
    if config.teacher_assistants and not taught:
        yield "teacher_assistants: no arm is taught, so no assistant is trained"
    incomparable_reason = _augments(config) or _has_dropout(config.student) or config.training.mixing.on
    if config.teacher is not None and config.teacher.is_student and not incomparable_reason:
        yield "teacher: self:average sees what the student sees, without dropout or augmentation, and puts out nearly the same"


def _has_dropout(student: Any) -> bool:
    return any(getattr(student, name, 0) for name in ("dropout", "attention_dropout", "drop_path", "drop_path_rate"))


def _stage(config: ClassificationRunConfig, stage: Stage) -> Iterator[str]:
    where = "" if stage.name == "whole" else f"stages ({stage.name})."
    training = stage.training
    labels = getattr(training, "label_weight", 1.0)
    for number, signal in enumerate(stage.signals):
        if training.accumulate > 1 and signal.weight > 0 and signal.compares_samples:
            yield (
                f"training.accumulate: {where}signals.{number} compares within a micro-batch of "
                f"{-(-training.batch_size // training.accumulate)}, not within the batch of {training.batch_size}"
            )
    if training.gradients == "pcgrad" and len([s for s in stage.signals if s.weight > 0]) + (labels > 0) < 2:
        yield f"{where}training.gradients: 'pcgrad' needs two terms to project, and there is one"
    if training.gradients == "cosine-gate" and labels == 0:
        yield f"{where}training.gradients: 'cosine-gate' holds terms against the labels, whose weight is 0"
    heard = [signal for signal in stage.signals if signal.weight > 0 and needs_teacher(signal)]
    if stage.signals and config.teacher is not None and not heard and not config.teacher.is_student:
        yield f"{where or 'run: '}teacher: no signal with a weight listens to it"
