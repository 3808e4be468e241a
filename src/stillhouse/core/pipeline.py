"""How one arm is trained: through its chain of assistants, and each network through the stages of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from stillhouse.core import processes, records
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.context import RunContext
from stillhouse.core.context import StageContext as StageContext
from stillhouse.core.task import Arm, Task
from stillhouse.curricula import Curriculum
from stillhouse.training.init_from_teacher import init_layers_from_teacher
from stillhouse.training.loop import Fit, fit
from stillhouse.training.size import check_size

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
        stage_teachers = next_stage_teachers(task, assistants, context)
    student, done = _through_stages(task, arm, arm.student, arm.taught, seed, folder, stage_teachers, context)
    done.seconds += seconds
    return student, done


def check_sizes(task: Task[Any, Any], arms: Sequence[Arm], context: RunContext[Any, Any]) -> None:
    """Refuse networks that this machine could not train, assistants too, before anything is written.

    Raises:
        InputError: one of them is too large.
    """
    for arm in arms:
        for choice in (*arm.teacher_assistants, arm.student) if arm.fit is None else ():
            check_size(partial(task.student, arm, choice, 0, context), f"student of arm {arm.name!r}")


def next_stage_teachers(
    task: Task[Any, Any], assistants: Sequence[nn.Module], context: RunContext[Any, Any]
) -> Sequence[Any]:
    """The teachers of the next link: the newest assistant, or all assistants together with the first teacher."""
    taught_by = assistants[-1:] if context.config.assistant_teachers == "last" else assistants
    return (task.as_stage_teacher(taught_by, context),) * len(context.stage_teachers)


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
        _inherit(task, student, stage_teachers, context)
    stages = context.config.stages_of(taught)
    heard = stage_teachers if taught else (None,) * len(stages)
    stage_contexts = [
        StageContext(student, stage, arm, seed, n, heard[n], None, context) for n, stage in enumerate(stages)
    ]
    _check_carry(task, stage_contexts)
    before: Path | None = None
    seconds, done = 0.0, Fit()
    for stage_context in stage_contexts:
        place = folder if stage_context is stage_contexts[-1] else folder / "stages" / stage_context.stage.name
        if context.config.curriculum is not None and (taught or context.config.difficulty_model == "student"):
            stage_context = replace(
                stage_context, curriculum=_curriculum(task, stage_context, choice, taught, place / "judge")
            )
        job = task.job(stage_context)
        with only(student, stage_context.stage.train_only):
            done = fit(
                job,
                task.training(stage_context),
                seed=seed,
                folder=place,
                resume=context.resume,
                carry=(before, stage_context.stage.restore_from_previous)
                if before is not None and stage_context.stage.restore_from_previous
                else None,
                on_progress=partial(context.callback.on_progress, arm.name, seed),
            )
        seconds += done.seconds
        before = place / records.CHECKPOINT
    done.seconds = seconds
    return student, done


def _inherit(
    task: Task[Any, Any], student: nn.Module, stage_teachers: Sequence[Any], context: RunContext[Any, Any]
) -> None:
    if not context.config.init_from_teacher:
        return
    stage_teacher = next((stage_teacher for stage_teacher in stage_teachers if stage_teacher is not None), None)
    module = None if stage_teacher is None else task.module_of(stage_teacher)
    if module is None:
        raise InputError("init_from_teacher: expected a teacher whose parts can be copied, got none")
    init_layers_from_teacher(student, module, context.config.init_from_teacher)


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
    difficulty = processes.on_first(lambda: task.difficulty(judge, context))
    return Curriculum(chosen, difficulty, task.labels(context), seed=stage_context.seed)


def _check_carry(task: Task[Any, Any], stage_contexts: Sequence[StageContext[Any, Any]]) -> None:
    """Raise InputError before the first stage is trained, if a later one is to take over what cannot be there."""
    for before, now in pairwise(stage_contexts):
        if not now.stage.restore_from_previous:
            continue
        learned = []
        for stage_context in (before, now):
            job = task.job(stage_context)
            learned.append({name: tuple(x.shape) for name, x in job.extras.state_dict().items()})
            job.close()
        old, new = learned
        where = f"stages ({now.stage.name}).restore_from_previous"
        if "extras" in now.stage.restore_from_previous and not old.items() & new.items():
            raise InputError(
                f"{where}: 'extras' are what signals learn, and stage {before.stage.name!r} has "
                f"{', '.join(old) or 'none'}, this one {', '.join(new) or 'none'}; leave it out"
            )
        if "optimizer" in now.stage.restore_from_previous and (
            old != new or before.stage.train_only != now.stage.train_only
        ):
            raise InputError(
                f"{where}: 'optimizer' needs the same learned parts and train_only in both stages; stage "
                f"{before.stage.name!r} learns {', '.join(old) or 'no projectors'}, this one "
                f"{', '.join(new) or 'none'}"
            )


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
