"""Settings that are legal and do nothing, or not what they seem to: listed before a run, and written with it. No torch.

What can never work is an error where it is written (`__post_init__`, `build`); here is what only the whole configuration shows.
"""

from __future__ import annotations

from typing import Any

from stillhouse.classification.plan import ClassesRunConfig
from stillhouse.core.plan import Stage
from stillhouse.core.schedules import Constant
from stillhouse.signals import needs_teacher, teacher_features


def unused_settings(config: ClassesRunConfig) -> tuple[str, ...]:
    """One line a setting without effect, each with its place and what would give it one.

    Example:
        >>> from stillhouse.classification.training import ClassificationTrainingConfig
        >>> training = ClassificationTrainingConfig(label_weight=0.0, label_smoothing=0.1)
        >>> print(unused_settings(ClassesRunConfig(training=training, arms=("kd",)))[0])
        training.label_smoothing: 0.1 does nothing, since label_weight is 0
    """
    found = [*_training(config), *_teachers(config), *_stages(config), *_curriculum(config)]
    for stage in config.stages_of("kd" in config.arms or config.reference == "kd"):
        found += _stage(config, stage)
    return tuple(dict.fromkeys(found))


def _training(config: ClassesRunConfig) -> list[str]:
    training, found = config.training, []
    if training.label_smoothing and training.label_weight == 0:
        found.append(f"training.label_smoothing: {training.label_smoothing} does nothing, since label_weight is 0")
    if training.warmup_epochs >= training.epochs:
        found.append(
            f"training.warmup_epochs: {training.warmup_epochs} of {training.epochs} epochs; the peak learning rate is never reached"
        )
    if training.schedule == "constant" and training.final_learning_rate != type(training)().final_learning_rate:
        found.append("training.final_learning_rate: does nothing under schedule 'constant'")
    if training.teacher_view != "same" and not _augments(config):
        found.append(
            f"training.teacher_view: {training.teacher_view!r} does nothing without augmentation (data.augment)"
        )
    for name in ("views", "view_seed"):
        if getattr(config.data, name, None) is not None and not _augments(config):
            found.append(f"data.{name}: does nothing without augmentation (data.augment)")
    if getattr(config.data, "view_seed", None) is not None and not config.data.views:
        found.append("data.view_seed: does nothing without data.views")
    doctor = training.doctor
    if doctor is not None and not doctor.balance and doctor.target_ratio != type(doctor)().target_ratio:
        found.append("training.doctor.target_ratio: does nothing without balance")
    if doctor is not None and doctor.balance and training.label_weight == 0 and doctor.task in {None, "labels"}:
        found.append("training.doctor.balance: label_weight is 0, so there is no gradient of labels to balance against")
    if training.patience >= training.epochs:
        found.append(
            f"training.patience: {training.patience} of {training.epochs} epochs; training never stops earlier"
        )
    if training.optimizer == "dot" and (training.label_weight == 0 or not _taught(config)):
        found.append(
            "training.optimizer: 'dot' keeps labels and teacher apart, and one of them is missing; sgd does the same"
        )
    return found


def _augments(config: ClassesRunConfig) -> bool:
    return getattr(config.data, "augment", "none") != "none" or getattr(config.data, "randaugment", False)


def _taught(config: ClassesRunConfig) -> bool:
    return bool({"kd", "direct"}.intersection(config.arms))


def _stages(config: ClassesRunConfig) -> list[str]:
    """What a run sets for all its stages, where every stage sets it itself."""
    found = []
    each = config.stages and all(stage.signals is not None for stage in config.stages)
    if each and config.signals != type(config)().signals:
        found.append("signals: do nothing, since every stage has signals of its own")
    for name in ("epochs", "learning_rate", "label_weight"):
        given = getattr(config.training, name)
        changed = given != getattr(type(config.training)(), name)
        if config.stages and changed and all(getattr(stage, name) is not None for stage in config.stages):
            found.append(f"training.{name}: {given} does nothing, since every stage has its own")
    return found


def _curriculum(config: ClassesRunConfig) -> list[str]:
    curriculum = config.curriculum
    if curriculum is None:
        return []
    found = []
    stages = len(curriculum.shares)
    for stage in config.stages_of(True):
        if stage.training.epochs < stages:
            where = "" if stage.name == "whole" else f"stages ({stage.name}): "
            found.append(
                f"{where}curriculum.shares: {stages} stages in {stage.training.epochs} epochs; the last ones, with the "
                "hardest samples, are never reached"
            )
    if config.stages:
        found.append("curriculum: begins anew in every stage of the pipeline")
    if curriculum.order == "none":
        unused = [
            n for n in ("measures", "replay", "by_class") if getattr(curriculum, n) != getattr(type(curriculum)(), n)
        ]
        unused += ["judge"] if config.judge != "teacher" else []
        found += [
            f"curriculum.{name}: does nothing under order 'none', which takes all samples always" for name in unused
        ]
    return found


def _teachers(config: ClassesRunConfig) -> list[str]:
    found = []
    taught = _taught(config)
    if config.teacher is not None and not taught and config.reference != "kd":
        found.append("teacher: no arm is taught; it is only asked how far students agree with it")
    if config.teacher is not None and config.teacher.is_student and config.more_teachers:
        found.append("more_teachers: do nothing beside self:average; the student's own average is asked alone")
    if config.more_teachers and not any(s.kind == "ensemble" or teacher_features((s,)) for s in config.signals):
        found.append(
            "more_teachers: no signal of kind 'ensemble' weighs them; signals see the mean of their probabilities"
        )
    if config.judge != "teacher" and config.curriculum is None:
        found.append(f"judge: {config.judge!r} does nothing without a curriculum")
    if config.chain and not taught:
        found.append("chain: no arm is taught, so no assistant is trained")
    unlike = _augments(config) or _has_dropout(config.student)
    if config.teacher is not None and config.teacher.is_student and not unlike and not config.training.mixing.on:
        found.append(
            "teacher: self:average sees what the student sees, without dropout or augmentation, and puts out nearly the same"
        )
    if config.chain_teachers == "all" and not config.chain:
        found.append("chain_teachers: 'all' does nothing without a chain")
    return found


def _has_dropout(student: Any) -> bool:
    return any(getattr(student, name, 0) for name in ("dropout", "attention_dropout", "drop_path", "drop_path_rate"))


def _stage(config: ClassesRunConfig, stage: Stage) -> list[str]:
    where = "" if stage.name == "whole" else f"stages ({stage.name})."
    found = []
    labels = getattr(stage.training, "label_weight", 1.0)
    for number, signal in enumerate(stage.signals):
        place = f"{where}signals.{number}"
        if signal.weight == 0:
            found.append(f"{place}.weight: 0, so signal {signal.kind!r} is not computed")
        if isinstance(signal.schedule, Constant):
            found.append(f"{place}.temperature: a constant schedule; {signal.schedule.value} alone is the same")
        training = stage.training
        if training.accumulate > 1 and signal.weight > 0 and signal.compares_samples:
            found.append(
                f"training.accumulate: {place} compares within a micro-batch of "
                f"{-(-training.batch_size // training.accumulate)}, not within the batch of {training.batch_size}"
            )
        if signal.kind == "dynamics" and len(signal.student) == 1 and signal.delta_weight:
            found.append(f"{place}.delta_weight: one layer has no derivative; name more layers")
    if stage.training.gradients == "pcgrad" and len([s for s in stage.signals if s.weight > 0]) + (labels > 0) < 2:
        found.append(f"{where}training.gradients: 'pcgrad' needs two terms to project, and there is one")
    if stage.training.gradients == "cosine-gate" and labels == 0:
        found.append(f"{where}training.gradients: 'cosine-gate' holds terms against the labels, whose weight is 0")
    heard = [signal for signal in stage.signals if signal.weight > 0 and needs_teacher(signal)]
    if stage.signals and config.teacher is not None and not heard and not config.teacher.is_student:
        found.append(f"{where or 'run: '}teacher: no signal with a weight listens to it")
    return found
