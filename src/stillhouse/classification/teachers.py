"""The teachers of a run with classes: built, graded on the validation split, asked once where that is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stillhouse.classification.plan import MEMBER, ClassesRunConfig
from stillhouse.classification.predict import predict
from stillhouse.core.checks import InputError
from stillhouse.core.family import Grade
from stillhouse.core.folder import student_folder
from stillhouse.core.plan import Stage
from stillhouse.core.types import TextTask
from stillhouse.signals import needs_teacher, teacher_features
from stillhouse.teachers import CachedTeacher, EnsembleTeacher, Teacher, TeacherConfig, check_teacher, fit_head
from stillhouse.teachers.tutor import Tutor

Load = Callable[[Any], Any]  # folder -> student


@dataclass(frozen=True)
class Staff:
    """Whom some stages of a run listen to: one source, or several together, and the features that are asked of them.

    Attributes:
        key: one a staff.
        sources: configurations; (None,) for a teacher that was given ready-made.
        features: paths, `1:PATH` for one of the second source.
    """

    key: str
    sources: tuple[TeacherConfig | None, ...]
    features: tuple[str, ...] = ()


def staff_of(config: ClassesRunConfig, given: Any) -> list[Staff]:
    """Every staff of a run, the one of the last stage last."""
    stages = [(key, stage) for stage in config.stages_of(True) if (key := _key(config, stage, given)) is not None]
    found = []
    for key in reversed(dict.fromkeys(key for key, _ in reversed(stages))):
        mine = [stage for other, stage in stages if other == key]
        sources = (None,) if given is not None else (mine[0].teacher, *config.more_teachers)
        features = tuple(dict.fromkeys(path for stage in mine for path in teacher_features(stage.signals)))
        found.append(Staff(key, sources, features))
    return found


def hire(config: ClassesRunConfig, data: Any, given: Any, load: Load) -> list[Any]:
    """All teachers of a run in the order of `staff_of`; of several together each one, then the group.

    Args:
        config: of the run.
        data: what teachers look at.
        given: a ready teacher that takes the place of all others; None for none.
        load: reads a student's folder, for `run:FOLDER`.
    """
    found: list[Any] = []
    for staff in staff_of(config, given):
        several = len(staff.sources) > 1
        members = []
        for number, source in enumerate(staff.sources):
            features = _of_member(staff.features, number) if several else staff.features
            members.append(given if source is None else _member(source, config, data, features, load))
        _check_several(config, members)
        found += members
        if several:
            found.append(EnsembleTeacher(members))
    return found


def grade(teacher: Any, data: Any, batch_size: int) -> Grade:
    """Accuracy on the validation split against the share of the commonest class."""
    report = check_teacher(teacher, data.validation.batches(batch_size))
    facts = {
        "ece": report.ece,
        "rows": report.rows,
        "head": report.head,
        "reliability": list(report.reliability),
        "params": getattr(teacher, "params", None),
    }
    scores = report.name, report.score, report.low, report.chance
    return Grade(*scores, "accuracy", facts, as_percent=True, detail=f"ECE {report.ece:.3f}")


def fingerprint(teacher: Any) -> str:
    """Of the weights as they were built: what is fitted to the data follows from them and from the data."""
    if isinstance(teacher, EnsembleTeacher):
        return " ".join(fingerprint(member) for member in teacher.members)
    return str(getattr(teacher, "built_as", None) or teacher.identity())


def tutor_of(teacher: Any, data: Any, config: ClassesRunConfig) -> Tutor:
    """Ask a ready teacher what can be asked beforehand: with fixed inputs, everything that fits in memory."""
    size, training = config.training.evaluation_batch_size, config.training
    fixed = not training.mixing.on and (not data.changes or training.teacher_view == "clean")
    cached = _cached(teacher, data, size) if fixed and CachedTeacher.fits(teacher.spec, len(data.train)) else None
    return Tutor(teacher, teacher.spec, cached, predict(lambda b: teacher(b).logits, data.validation, size))


def tutors_of(config: ClassesRunConfig, data: Any, teachers: Sequence[Any], given: Any) -> list[Tutor | None]:
    """One tutor a stage; None where a stage listens to nobody, or to the student's own average."""
    tutors: dict[str, Tutor] = {}
    place = 0
    for staff in staff_of(config, given):
        place += len(staff.sources) + (len(staff.sources) > 1)
        tutors[staff.key] = tutor_of(teachers[place - 1], data, config)
    return [None if (key := _key(config, stage, given)) is None else tutors[key] for stage in config.stages_of(True)]


def as_teacher(student: Any, data: Any, config: ClassesRunConfig, name: str) -> Teacher:
    """A trained assistant, which now teaches; it takes raw inputs as every student does."""
    return Teacher.from_module(student, data.task, name=name, features=wanted_features(config))


def wanted_features(config: ClassesRunConfig) -> tuple[str, ...]:
    """Paths that signals of any stage tap in whoever teaches."""
    return tuple(dict.fromkeys(path for stage in config.stages_of(True) for path in teacher_features(stage.signals)))


def _key(config: ClassesRunConfig, stage: Stage, given: Any) -> str | None:
    """Which teacher a stage needs; None where it needs none."""
    listens = any(needs_teacher(signal) for signal in stage.signals)
    if given is not None:
        return "given"
    if stage.teacher is None or stage.teacher.is_student or not (listens or config.teacher is not None):
        return None
    return repr(stage.teacher)


def _member(
    source: TeacherConfig, config: ClassesRunConfig, data: Any, features: tuple[str, ...], load: Load
) -> Teacher:
    """One teacher, built and ready: a re-made head is fitted on frozen features of the training split."""
    kind, _, name = source.source.partition(":")
    if kind == "run":
        teacher = Teacher.from_module(load(student_folder(Path(name))), data.task, name=name, features=features)
        return teacher
    if isinstance(data.task, TextTask):
        raise InputError(
            f"teacher {source.source!r} reads images, and these are texts; take run:FOLDER of a run on texts"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is drawn (an untrained body, a new head) is the same when the run is resumed
        teacher = source.build(data.task, features=features)
    teacher.built_as = teacher.identity()
    if teacher.head_is_new and source.head != "keep":
        fit_head(teacher, data.train.batches(config.training.evaluation_batch_size))
    return teacher


def _check_several(config: ClassesRunConfig, members: Sequence[Any]) -> None:
    weighs = any(signal.kind == "ensemble" for stage in config.stages_of(True) for signal in stage.signals)
    if weighs and len(members) == 1 and not isinstance(members[0], EnsembleTeacher):
        raise InputError(
            f"signal 'ensemble' weighs several teachers, and there is one ({members[0].name}); name others in more_teachers"
        )


def _of_member(wanted: Sequence[str], number: int) -> tuple[str, ...]:
    """The paths that are asked of one member: `1:layer3` is `layer3` of the second."""
    matches = [(path, MEMBER.match(path)) for path in wanted]
    return tuple(path.partition(":")[2] for path, match in matches if match is not None and int(match[1]) == number)


def _cached(teacher: Any, data: Any, batch_size: int) -> Any:
    if isinstance(teacher, EnsembleTeacher):
        members = [_cached(member, data, batch_size) for member in teacher.members]
        return EnsembleTeacher(members, teacher.names)
    return CachedTeacher(teacher, data.train.batches(batch_size), len(data.train))
