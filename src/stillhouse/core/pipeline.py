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
from stillhouse.core.family import Arm, Family
from stillhouse.core.lab import Lab
from stillhouse.core.lab import Lesson as Lesson
from stillhouse.curricula import Curriculum
from stillhouse.training.inherit import inherit_layers
from stillhouse.training.loop import Fit, fit
from stillhouse.training.size import check_size

C = TypeVar("C")
D = TypeVar("D")


def train_arm(family: Family[Any, Any], arm: Arm, seed: int, lab: Lab[Any, Any]) -> tuple[nn.Module, Fit]:
    """Train the assistants of an arm, then its student; returns the student in eval mode and how its training went.

    Every assistant is saved in `assistant-N` of the arm's folder. `Fit.seconds` counts all trainings.
    """
    folder, tutors, seconds = lab.place(arm.name, seed), lab.tutors, 0.0
    assistants: list[nn.Module] = []
    for number, choice in enumerate(arm.chain):
        place = folder / f"assistant-{number}"
        student, done = _through_stages(family, arm, choice, True, seed, place, tutors, lab)
        processes.on_first(partial(family.save, place, student, choice, lab))
        assistants.append(student)
        seconds += done.seconds
        tutors = next_tutors(family, assistants, lab)
    student, done = _through_stages(family, arm, arm.student, arm.taught, seed, folder, tutors, lab)
    done.seconds += seconds
    return student, done


def check_sizes(family: Family[Any, Any], arms: Sequence[Arm], lab: Lab[Any, Any]) -> None:
    """Refuse networks that this machine could not train, assistants too, before anything is written.

    Raises:
        InputError: one of them is too large.
    """
    for arm in arms:
        for choice in (*arm.chain, arm.student) if arm.fit is None else ():
            check_size(partial(family.student, arm, choice, 0, lab), f"student of arm {arm.name!r}")


def next_tutors(family: Family[Any, Any], assistants: Sequence[nn.Module], lab: Lab[Any, Any]) -> Sequence[Any]:
    """The tutors of the next link: the newest assistant, or all assistants together with the first teacher."""
    taught_by = assistants[-1:] if lab.config.chain_teachers == "last" else assistants
    return (family.as_tutor(taught_by, lab),) * len(lab.tutors)


def _through_stages(
    family: Family[Any, Any],
    arm: Arm,
    choice: Any,
    taught: bool,
    seed: int,
    folder: Path,
    tutors: Sequence[Any],
    lab: Lab[Any, Any],
) -> tuple[nn.Module, Fit]:
    """One network through all stages; each stage but the last has a folder of its own and costs nothing when resumed."""
    torch.manual_seed(seed)
    student = family.student(arm, choice, seed, lab)
    if taught:
        _inherit(family, student, tutors, lab)
    stages = lab.config.stages_of(taught)
    heard = tutors if taught else (None,) * len(stages)
    lessons = [Lesson(student, stage, arm, seed, n, heard[n], None, lab) for n, stage in enumerate(stages)]
    _check_carry(family, lessons)
    before: Path | None = None
    seconds, done = 0.0, Fit()
    for lesson in lessons:
        place = folder if lesson is lessons[-1] else folder / "stages" / lesson.stage.name
        if lab.config.curriculum is not None and (taught or lab.config.judge == "student"):
            lesson = replace(lesson, curriculum=_curriculum(family, lesson, choice, taught, place / "judge"))
        job = family.job(lesson)
        with only(student, lesson.stage.train_only):
            done = fit(
                job,
                family.training(lesson),
                seed=seed,
                folder=place,
                resume=lab.resume,
                carry=(before, lesson.stage.carry) if before is not None and lesson.stage.carry else None,
                on_progress=partial(lab.watch.on_progress, arm.name, seed),
            )
        seconds += done.seconds
        before = place / records.CHECKPOINT
    done.seconds = seconds
    return student, done


def _inherit(family: Family[Any, Any], student: nn.Module, tutors: Sequence[Any], lab: Lab[Any, Any]) -> None:
    if not lab.config.inherit:
        return
    tutor = next((tutor for tutor in tutors if tutor is not None), None)
    module = None if tutor is None else family.module_of(tutor)
    if module is None:
        raise InputError("inherit: expected a teacher whose parts can be copied, got none")
    inherit_layers(student, module, lab.config.inherit)


def _curriculum(
    family: Family[Any, Any], lesson: Lesson[Any, Any], choice: Any, taught: bool, folder: Path
) -> Curriculum:
    """Order the training rows by how hard they are to the teacher, or to a student after one epoch without a teacher.

    An untaught arm keeps the order alone: the stages' weights share out what it has no second part of.
    """
    lab, config = lesson.lab, lesson.lab.config
    judge = lesson.tutor
    if config.judge == "student":
        torch.manual_seed(lesson.seed)
        judge = family.student(lesson.arm, choice, lesson.seed, lab)
        trial = replace(lesson, student=judge, stage=config.trial_stage(lesson.stage), number=0, tutor=None)
        fit(family.job(trial), trial.stage.training, seed=lesson.seed, folder=folder, resume=lab.resume)
    chosen = config.curriculum if taught else replace(config.curriculum, label_weights=(), signal_weights=())
    difficulty = processes.on_first(lambda: family.difficulty(judge, lab))
    return Curriculum(chosen, difficulty, family.labels(lab), seed=lesson.seed)


def _check_carry(family: Family[Any, Any], lessons: Sequence[Lesson[Any, Any]]) -> None:
    """Raise InputError before the first stage is trained, if a later one is to take over what cannot be there."""
    for before, now in pairwise(lessons):
        if not now.stage.carry:
            continue
        learned = []
        for lesson in (before, now):
            job = family.job(lesson)
            learned.append({name: tuple(x.shape) for name, x in job.extras.state_dict().items()})
            job.close()
        old, new = learned
        where = f"stages ({now.stage.name}).carry"
        if "extras" in now.stage.carry and not old.items() & new.items():
            raise InputError(
                f"{where}: 'extras' are what signals learn, and stage {before.stage.name!r} has "
                f"{', '.join(old) or 'none'}, this one {', '.join(new) or 'none'}; leave it out"
            )
        if "optimizer" in now.stage.carry and (old != new or before.stage.train_only != now.stage.train_only):
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
