"""How one arm is trained: through its chain of assistants, each network through the stages of the pipeline, by its signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core import processes
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.parts import Arm
from stillhouse.core.task import RunContext, Task
from stillhouse.core.task import StageContext as StageContext
from stillhouse.core.types import OutputSpec
from stillhouse.curricula import Curriculum
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import build_signals, student_features, teacher_features
from stillhouse.teachers.average import AverageTeacher
from stillhouse.training.distillation import SignalSet, init_layers_from_teacher, networks_of
from stillhouse.training.loop import Fit, fit


def train_arm(task: Task[Any, Any], arm: Arm, seed: int, context: RunContext[Any, Any]) -> tuple[nn.Module, Fit]:
    """Train the assistants of an arm, then its student; returns the student in eval mode and how its training went.

    Every assistant is saved in `assistant-N` of the arm's folder. `Fit.seconds` counts all trainings.
    """
    folder, stage_teachers, seconds = context.place(arm.name, seed), context.stage_teachers, 0.0
    assistants: list[nn.Module] = []
    for number, choice in enumerate(arm.teacher_assistants):
        place = folder / f"assistant-{number}"
        student, done = _through_stages(task, arm, choice, True, seed, place, stage_teachers, context)
        processes.run_on_first(partial(task.save, place, student, choice, context))
        assistants.append(student)
        seconds += done.seconds
        taught_by = assistants[-1:] if context.config.assistant_teachers == "last" else assistants
        stage_teachers = task.stage_teachers(context, taught_by)
    student, done = _through_stages(task, arm, arm.student, arm.taught, seed, folder, stage_teachers, context)
    done.seconds += seconds
    return student, done


def _through_stages(
    task: Task[Any, Any],
    arm: Arm,
    choice: Any,
    taught: bool,
    seed: int,
    folder: Path,
    stage_teachers: Sequence[Any],
    context: RunContext[Any, Any],
) -> tuple[nn.Module, Fit]:
    """One network through all stages; each stage but the last has a folder of its own and costs nothing when resumed."""
    torch.manual_seed(seed)
    student = task.student(arm, choice, seed, context)
    if taught:
        _inherit(student, stage_teachers, context)
    stages = context.config.stages_of(taught)
    seconds, done = 0.0, Fit()
    for number, stage in enumerate(stages):
        place = folder if number == len(stages) - 1 else folder / "stages" / stage.name
        stage_teacher = stage_teachers[number] if taught else None
        stage_context = StageContext(student, stage, arm, seed, number, stage_teacher, None, context)
        if context.config.curriculum is not None and (taught or context.config.difficulty_model == "student"):
            curriculum = _curriculum(task, stage_context, choice, taught, place / "judge")
            stage_context = replace(stage_context, curriculum=curriculum)
        epochs = sum(s.training.epochs for s in stages[:number])

        def validated(epoch: int, rank: Sequence[float], epochs: int = epochs) -> None:
            if choice is arm.student:
                context.callback.on_validation(arm.name, seed, epochs + epoch, rank)

        job = task.job(stage_context)
        with train_only(student, stage.train_only):
            done = fit(
                job,
                stage.training,
                seed=seed,
                folder=place,
                resume=context.resume,
                on_progress=partial(context.callback.on_progress, arm.name, seed),
                on_validation=validated,
            )
        seconds += done.seconds
    done.seconds = seconds
    return student, done


def _inherit(student: nn.Module, stage_teachers: Sequence[Any], context: RunContext[Any, Any]) -> None:
    if not context.config.init_from_teacher:
        return
    stage_teacher = next((stage_teacher for stage_teacher in stage_teachers if stage_teacher is not None), None)
    networks = networks_of(stage_teacher)
    if len(networks) != 1:
        raise InputError(f"init_from_teacher: expected a teacher that is one network, got {len(networks)} networks")
    init_layers_from_teacher(student, networks[0], context.config.init_from_teacher)


def _curriculum(
    task: Task[Any, Any], stage_context: StageContext[Any, Any], choice: Any, taught: bool, folder: Path
) -> Curriculum:
    """Order the training rows by how hard they are to the teacher, or to a student after one epoch without a teacher.

    An untaught arm keeps the order alone: the stages' weights share out what it has no second part of.
    """
    context, config = stage_context.context, stage_context.context.config
    judge = stage_context.stage_teacher
    if config.difficulty_model == "student":
        torch.manual_seed(stage_context.seed)
        judge = task.student(stage_context.arm, choice, stage_context.seed, context)
        trial = replace(
            stage_context, student=judge, stage=config.trial_stage(stage_context.stage), number=0, stage_teacher=None
        )
        fit(task.job(trial), trial.stage.training, seed=stage_context.seed, folder=folder, resume=context.resume)
    chosen = config.curriculum if taught else replace(config.curriculum, label_weights=(), signal_weights=())
    difficulty, labels = processes.run_on_first(lambda: task.difficulty(judge, context))
    return Curriculum(chosen, difficulty, labels, seed=stage_context.seed)


@contextmanager
def train_only(student: nn.Module, paths: tuple[str, ...]) -> Iterator[None]:
    """While open, only the named sub-modules learn.

    Raises:
        InputError: the student has no such sub-module.
    """
    names = [name for name, _ in student.named_modules() if name]
    for path in paths:
        if path not in names:
            raise InputError(f"train_only: the student has no sub-module {path!r}; {nearest(path, names)}")
    frozen = [
        p
        for name, p in student.named_parameters()
        if paths and p.requires_grad and not any(name == path or name.startswith(f"{path}.") for path in paths)
    ]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


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
