"""The teachers of a run: built, checked on validation before anything is learnt from them, asked once where that is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.classification.data import ImageData
from stillhouse.classification.metrics import evaluate
from stillhouse.classification.plan import RunConfig, Stage
from stillhouse.classification.predict import predict
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json, write_arrays, write_json
from stillhouse.core.types import OutputSpec
from stillhouse.signals import needs_teacher, teacher_features
from stillhouse.teachers import (
    CachedTeacher,
    EnsembleTeacher,
    NetworkTeacher,
    Teacher,
    TeacherAtChance,
    TeacherConfig,
    TeacherReport,
    check_teacher,
    fit_head,
)
from stillhouse.training import TrainingConfig


@dataclass(frozen=True)
class Tutor:
    """A checked teacher.

    Attributes:
        spec: its classes and features.
        tells: what to ask in training: itself, or its cached outputs.
        teacher: itself, for images that it was not asked about.
        validation_probabilities: (N, K) on the validation split.
    """

    spec: OutputSpec
    tells: Any
    teacher: Any
    validation_probabilities: np.ndarray

    @classmethod
    def of(cls, teacher: Any, data: ImageData, batch_size: int, training: TrainingConfig) -> Tutor:
        """Ask a ready teacher what can be asked beforehand: with fixed images, everything that fits in memory."""
        tells = teacher
        fixed = not training.mixing.on and (not data.changes or training.teacher_view == "clean")
        if fixed and CachedTeacher.fits(teacher.spec, len(data.train)):
            tells = _cached(teacher, data, batch_size)
        return cls(teacher.spec, tells, teacher, predict(lambda b: teacher(b).logits, data.validation, batch_size))


def prepare_tutors(
    config: RunConfig, data: ImageData, out: Path, *, force: bool, given: Any, say: Callable[[str], None]
) -> tuple[Tutor | None, ...]:
    """One tutor a stage (None where none is needed); `teacher.json` is about the last stage's.

    Raises:
        TeacherAtChance: one is no better than guessing and `force` is off.
    """
    tutors: list[Tutor | None] = []
    known: dict[Any, Tutor | None] = {}
    for stage in config.stages_of(True):
        wanted = tuple(teacher_features(stage.signals))
        key = (repr(stage.teacher), wanted)
        if key not in known:
            known[key] = _tutor(config, stage, wanted, data, out, force, given, say)
        tutors.append(known[key])
    return tuple(tutors)


def ready_teacher(teacher: Teacher, data: ImageData, batch_size: int, *, probe: bool = True) -> TeacherReport:
    """Fit a re-made head on frozen features (training split), then score the teacher on the validation split."""
    if isinstance(teacher, NetworkTeacher) and teacher.head_is_new and probe:
        fit_head(teacher, data.train.batches(batch_size))
    return check_teacher(teacher, data.validation.batches(batch_size))


def describe(report: TeacherReport) -> str:
    """One line on a teacher: its score against chance, its calibration, whether it is fit to teach."""
    return (
        f"teacher: {report.name}, validation accuracy {report.score:.2%} (chance {report.chance:.2%}), "
        f"ECE {report.ece:.3f}: {report.status}"
    )


def write_teacher_test(tutor: Tutor, config: RunConfig, data: ImageData, out: Path) -> None:
    """The teacher on the test split, read once, after every arm is trained."""
    probabilities = predict(lambda b: tutor.teacher(b).logits, data.test, config.training.evaluation_batch_size)
    write_arrays(out / records.TEACHER_PREDICTIONS, probabilities=probabilities)
    metrics = evaluate(probabilities, data.test.labels.numpy(), None)
    known = read_json(out / records.TEACHER)
    write_json(out / records.TEACHER, {**known, "test_score": metrics["accuracy"], "test_ece": metrics["ece"]})


def _tutor(
    config: RunConfig,
    stage: Stage,
    wanted: tuple[str, ...],
    data: ImageData,
    out: Path,
    force: bool,
    given: Any,
    say: Callable[[str], None],
) -> Tutor | None:
    if given is None and (stage.teacher is None or stage.teacher.is_student):
        return None
    if not any(needs_teacher(signal) for signal in stage.signals) and config.teacher is None and given is None:
        return None
    batch_size = config.training.evaluation_batch_size
    sources: Sequence[TeacherConfig | None] = (None,) if given is not None else (stage.teacher, *config.more_teachers)
    several = len(sources) > 1
    reports, members = [], []
    for number, source in enumerate(sources):
        features = wanted if not several else _of_member(wanted, number)
        teacher = given if source is None else source.build(data.task, features=features)
        report = ready_teacher(teacher, data, batch_size, probe=source is not None and source.head != "keep")
        say(describe(report))
        if report.status != "ready" and not force:
            raise TeacherAtChance(
                f"{describe(report)}\nNothing can be learnt from it: fine-tune one (`stillhouse train-teacher`), name "
                "another --teacher-source, or insist with --force"
            )
        reports.append({**report.to_mapping(), "params": teacher.params})
        members.append(teacher)
    if not several:
        _several_are_wanted(stage, members[0])
        write_json(out / records.TEACHER, reports[0])
        return Tutor.of(members[0], data, batch_size, config.training)
    together = EnsembleTeacher(members)
    report = check_teacher(together, data.validation.batches(batch_size))
    write_json(out / records.TEACHER, {**report.to_mapping(), "params": together.params, "members": reports})
    say(describe(report))
    return Tutor.of(together, data, batch_size, config.training)


def _several_are_wanted(stage: Stage, teacher: Any) -> None:
    if any(signal.kind == "ensemble" for signal in stage.signals) and not isinstance(teacher, EnsembleTeacher):
        raise InputError(
            f"signal 'ensemble' weighs several teachers, and there is one ({teacher.name}); name others in more_teachers"
        )


def _of_member(wanted: Sequence[str], number: int) -> tuple[str, ...]:
    """The paths that are asked of one member: `1:layer3` is `layer3` of the second."""
    start = f"{number}:"
    return tuple(path.removeprefix(start) for path in wanted if path.startswith(start))


def _cached(teacher: Any, data: ImageData, batch_size: int) -> Any:
    if isinstance(teacher, EnsembleTeacher):
        members = [_cached(member, data, batch_size) for member in teacher.members]
        return EnsembleTeacher(members, teacher.names)
    return CachedTeacher(teacher, data.train.batches(batch_size), len(data.train))
