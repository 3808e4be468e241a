"""From a stage's configuration to the signals that listen: whom, to what, with which taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.pipeline import Lesson
from stillhouse.core.types import OutputSpec
from stillhouse.layers.taps import Tapped
from stillhouse.signals import build_signals, needs_teacher, student_features, teacher_features
from stillhouse.teachers.average import AverageTeacher
from stillhouse.training.distillation import Listening

Build = Callable[[Sequence[Any], OutputSpec, OutputSpec], nn.ModuleList]
SIGNAL_SEED = 7  # projectors start alike, whatever the student drew


def listen(
    lesson: Lesson[Any, Any],
    example: Tensor,
    spec_of: Callable[[nn.Module, tuple[str, ...]], OutputSpec] | None = None,
    build: Build = build_signals,
    seed: int | None = SIGNAL_SEED,
) -> Listening:
    """Build the signals of a stage, and those that need no teacher.

    Args:
        lesson: student, stage, tutor and curriculum. A tutor has `spec` (`OutputSpec`) and is called with a `Batch`.
        example: (2, ...) inputs of the student, to find out shapes with.
        spec_of: (student, paths) -> shapes, for students whose outputs are not class scores (B, K).
        build: (configurations, student, teacher) -> signals, for families whose signals compare other rows than the batch's.
        seed: of what signals learn, added to the arm's; None: they draw what follows the student's weights.

    Raises:
        InputError: a signal needs a teacher and there is none, or tensors that this family has not.
    """
    stage, config, student = lesson.stage, lesson.lab.config, lesson.student
    if not stage.signals and not config.own:
        return Listening(curriculum=lesson.curriculum)
    features = student_features((*stage.signals, *config.own))
    spec = (spec_of or _class_scores(example))(student, features)
    if seed is not None:
        torch.manual_seed(lesson.seed + seed)
    teacher, teacher_spec = _teacher_of(lesson, example, spec)
    signals, own = build(stage.signals, spec, teacher_spec), build(config.own, spec, spec)
    twice = {str(signal.name) for signal in signals} & {str(signal.name) for signal in own}
    if twice:
        raise InputError(f"own: {', '.join(map(repr, twice))} is a name among signals too; choose another name")
    average = None
    if config.own_decay is not None:
        average = AverageTeacher(student, example, decay=config.own_decay)
    return Listening(teacher, signals, features, own, average, lesson.curriculum)


def _class_scores(example: Tensor) -> Callable[[nn.Module, tuple[str, ...]], OutputSpec]:
    def spec(student: nn.Module, features: tuple[str, ...]) -> OutputSpec:
        tapped = Tapped(student, features)
        try:
            return tapped.spec(example)
        finally:
            tapped.close()

    return spec


def _teacher_of(lesson: Lesson[Any, Any], example: Tensor, spec: OutputSpec) -> tuple[Any, OutputSpec]:
    """Whom the signals of a stage listen to, and the shapes of what it puts out; nobody where they need no teacher."""
    stage, tutor = lesson.stage, lesson.tutor
    if not stage.signals:
        return None, spec
    if getattr(stage.teacher, "is_student", False):
        decay = 0.999 if stage.teacher.decay is None else stage.teacher.decay
        average = AverageTeacher(lesson.student, example, decay=decay, features=teacher_features(stage.signals))
        return average, average.spec
    if tutor is None:
        if any(needs_teacher(signal) for signal in stage.signals):
            raise InputError(f"stage {stage.name!r}: its signals need a teacher, and it has none")
        return None, spec
    return tutor, tutor.spec
