"""How one arm is trained: through its chain of assistants, and each network through the stages of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from stillhouse.core import processes
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.parts import Arm
from stillhouse.core.task import RunContext, Task
from stillhouse.core.task import StageContext as StageContext
from stillhouse.curricula import Curriculum
from stillhouse.training.distillation import init_layers_from_teacher, networks_of
from stillhouse.training.loop import Fit, fit

C = TypeVar("C")
D = TypeVar("D")


def train_arm(task: Task[Any, Any], arm: Arm, seed: int, context: RunContext[Any, Any]) -> tuple[nn.Module, Fit]:
    """Train the assistants of an arm, then its student; returns the student in eval mode and how its training went.

    Every assistant is saved in `assistant-N` of the arm's folder. `Fit.seconds` counts all trainings.
    """
    folder, stage_teachers, seconds = context.place(arm.name, seed), context.stage_teachers, 0.0
    assistants: list[nn.Module] = []
    for number, choice in enumerate(arm.teacher_assistants):
        place = folder / f"assistant-{number}"
        student, done = _through_stages(task, arm, choice, True, seed, place, stage_teachers, context)
        processes.on_first(partial(task.save, place, student, choice, context))
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
        with only(student, stage.train_only):
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
    difficulty, labels = processes.on_first(lambda: task.difficulty(judge, context))
    return Curriculum(chosen, difficulty, labels, seed=stage_context.seed)


@contextmanager
def only(student: nn.Module, paths: tuple[str, ...]) -> Iterator[None]:
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
