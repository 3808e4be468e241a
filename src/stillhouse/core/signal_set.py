"""From a stage's configuration to the signals that listen: whom, to what, with which taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.pipeline import StageContext
from stillhouse.core.types import OutputSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import build_signals, student_features, teacher_features
from stillhouse.teachers.average import AverageTeacher
from stillhouse.training.distillation import SignalSet

Build = Callable[[Sequence[Any], OutputSpec, OutputSpec], nn.ModuleList]
SIGNAL_SEED = 7  # projectors start alike, whatever the student drew


def signal_set_of(
    stage_context: StageContext[Any, Any],
    example: Tensor,
    spec_of: Callable[[nn.Module, tuple[str, ...]], OutputSpec] | None = None,
    build: Build = build_signals,
    seed: int | None = SIGNAL_SEED,
) -> SignalSet:
    """Build the signals of a stage, and those that need no teacher.

    Args:
        stage_context: student, stage, teacher and curriculum. A teacher has `spec` (`OutputSpec`) and is called with a `Batch`.
        example: (2, ...) inputs of the student, to find out shapes with.
        spec_of: (student, paths) -> shapes, for students whose outputs are not class scores (B, K).
        build: (configurations, student, teacher) -> signals, for tasks whose signals compare other rows than the batch's.
        seed: of what signals learn, added to the arm's; None: they draw what follows the student's weights.

    Raises:
        InputError: a signal needs a teacher and there is none, or tensors that this task has not.
    """
    stage, config, student = stage_context.stage, stage_context.context.config, stage_context.student
    if not stage.signals and not config.auxiliary_losses:
        return SignalSet(curriculum=stage_context.curriculum)
    features = student_features((*stage.signals, *config.auxiliary_losses))
    spec = (spec_of or _class_scores(example))(student, features)
    if seed is not None:
        torch.manual_seed(stage_context.seed + seed)
    teacher, teacher_spec = _teacher_of(stage_context, example, spec)
    signals, own = build(stage.signals, spec, teacher_spec), build(config.auxiliary_losses, spec, spec)
    twice = {str(signal.name) for signal in signals} & {str(signal.name) for signal in own}
    if twice:
        raise InputError(
            f"auxiliary_losses: {', '.join(map(repr, twice))} is a name among signals too; choose another name"
        )
    average = None
    if config.auxiliary_decay is not None:
        average = AverageTeacher(student, example, decay=config.auxiliary_decay)
    return SignalSet(teacher, signals, features, own, average, stage_context.curriculum)


def _class_scores(example: Tensor) -> Callable[[nn.Module, tuple[str, ...]], OutputSpec]:
    def spec(student: nn.Module, features: tuple[str, ...]) -> OutputSpec:
        extractor = FeatureExtractor(student, features)
        try:
            return extractor.spec(example)
        finally:
            extractor.close()

    return spec


def _teacher_of(stage_context: StageContext[Any, Any], example: Tensor, spec: OutputSpec) -> tuple[Any, OutputSpec]:
    """Whom the signals of a stage listen to, and the shapes of what it puts out; nobody where they need no teacher."""
    stage, stage_teacher = stage_context.stage, stage_context.stage_teacher
    if not stage.signals:
        return None, spec
    if getattr(stage.teacher, "is_student", False):
        decay = 0.999 if stage.teacher.decay is None else stage.teacher.decay
        average = AverageTeacher(stage_context.student, example, decay=decay, features=teacher_features(stage.signals))
        return average, average.spec
    if stage_teacher is None:
        if any(signal.needs_teacher for signal in stage.signals):
            raise InputError(f"stage {stage.name!r}: its signals need a teacher, and it has none")
        return None, spec
    return stage_teacher, stage_teacher.spec
