"""Settings that are legal and do nothing, or not what they seem to: said before a run, and written with it. No torch.

What can never work is an error where it is written (`__post_init__`, `build`); here is what only the whole configuration shows.
"""

from __future__ import annotations

from typing import Any

from stillhouse.plan import RunConfig, Stage
from stillhouse.schedules import Constant
from stillhouse.signals import needs_teacher
from stillhouse.temperature import ScheduledTemperature

BATCH_SIGNALS = {"relations"}  # compared within a batch, so a smaller micro-batch is another loss


def lint(config: RunConfig) -> tuple[str, ...]:
    """One line a setting without effect, each with its place and what would give it one.

    Example:
        >>> from stillhouse.training import TrainingConfig
        >>> print(lint(RunConfig(training=TrainingConfig(label_weight=0.0, label_smoothing=0.1), arms=("kd",)))[0])
        training.label_smoothing: 0.1 does nothing, since label_weight is 0
    """
    found = [*_training(config), *_teachers(config)]
    for stage in config.stages_of("kd" in config.arms or config.reference == "kd"):
        found += _stage(config, stage)
    return tuple(dict.fromkeys(found))


def _training(config: RunConfig) -> list[str]:
    training, found = config.training, []
    if training.label_smoothing and training.label_weight == 0:
        found.append(f"training.label_smoothing: {training.label_smoothing} does nothing, since label_weight is 0")
    if training.warmup_epochs >= training.epochs:
        found.append(
            f"training.warmup_epochs: {training.warmup_epochs} of {training.epochs} epochs; the peak learning rate is never reached"
        )
    if training.schedule == "constant" and training.final_learning_rate != type(training)().final_learning_rate:
        found.append("training.final_learning_rate: does nothing under schedule 'constant'")
    if training.teacher_view != "same" and config.data.augment == "none":
        found.append(
            f"training.teacher_view: {training.teacher_view!r} does nothing without augmentation (data.augment)"
        )
    if training.accumulate > 1 and any(s.kind in BATCH_SIGNALS for s in config.signals):
        found.append(
            "training.accumulate: signals on relations compare within a micro-batch of "
            f"{-(-training.batch_size // training.accumulate)}, not within the batch of {training.batch_size}"
        )
    return found


def _teachers(config: RunConfig) -> list[str]:
    found = []
    taught = {"kd", "direct"}.intersection(config.arms)
    if config.teacher is not None and not taught and config.reference != "kd":
        found.append("teacher: no arm is taught; it is only asked how far students agree with it")
    if config.teacher is not None and config.teacher.is_student and config.more_teachers:
        found.append("more_teachers: do nothing beside self:average; the student's own average is asked alone")
    if config.more_teachers and not any(getattr(s, "kind", "") == "ensemble" for s in config.signals):
        found.append(
            "more_teachers: no signal of kind 'ensemble' weighs them; signals see the mean of their probabilities"
        )
    if config.judge != "teacher" and config.curriculum is None:
        found.append(f"judge: {config.judge!r} does nothing without a curriculum")
    if config.chain_teachers == "all" and not config.chain:
        found.append("chain_teachers: 'all' does nothing without a chain")
    return found


def _stage(config: RunConfig, stage: Stage) -> list[str]:
    where = "" if stage.name == "whole" else f"stages ({stage.name})."
    found = []
    for number, signal in enumerate(stage.signals):
        place = f"{where}signals.{number}"
        if signal.weight == 0:
            found.append(f"{place}.weight: 0, so signal {signal.kind!r} is not computed")
        found += _temperature(config, place, getattr(signal, "temperature", None))
    heard = [signal for signal in stage.signals if signal.weight > 0 and needs_teacher(signal)]
    if stage.signals and config.teacher is not None and not heard and not config.teacher.is_student:
        found.append(f"{where or 'run: '}teacher: no signal with a weight listens to it")
    return found


def _temperature(config: RunConfig, place: str, temperature: Any) -> list[str]:
    if isinstance(temperature, ScheduledTemperature) and isinstance(temperature.schedule, Constant):
        return [f"{place}.temperature: a constant schedule; {temperature.schedule.value} alone says the same"]
    return []
