"""A run from its configuration to its verdict: check the teacher, train every arm and seed, compare, report."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse import records
from stillhouse.config import to_mapping
from stillhouse.data import ImageData
from stillhouse.metrics import evaluate, measure_cost
from stillhouse.plan import Arm, RunConfig
from stillhouse.records import arm_folder, open_run_folder, read_json, write_atomically, write_json
from stillhouse.report import write_report
from stillhouse.signals import build_signals, student_features, teacher_features
from stillhouse.students.card import save_student
from stillhouse.summary import summarize
from stillhouse.teachers import CachedTeacher, Teacher, TeacherAtChance, TeacherReport, check_teacher, fit_head
from stillhouse.training.classification import Lesson, fit_classifier
from stillhouse.training.predict import predict
from stillhouse.types import Progress

Tell = Callable[[str, int, Progress, Mapping[str, float | None]], None]


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data: ImageData | None = None,
    teacher: Teacher | None = None,
    command: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    tell: Tell = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Carry out a whole run; every finished arm and seed is on disk before the next begins.

    Args:
        config: the run as one value.
        out: run folder; made, or gone on with if `resume`.
        resume: skip finished arms and go on inside the unfinished one.
        force: train although the teacher is no better than chance.
        data: ready data (`ImageData.from_arrays`), instead of what the configuration names.
        teacher: a ready teacher (`Teacher.from_module`), instead of the one that the configuration names.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        tell: told the progress of each training: arm, seed, progress, latest figures.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: data, teacher, folder or signals do not fit.
        TeacherAtChance: the teacher is no better than guessing and `force` is off.
        Interrupted: stopped on request, state saved.
    """
    command = command or records.command_line()
    open_run_folder(out, to_mapping(config), resume=resume, may_grow=("seeds", "arms"))
    data = config.data.build() if data is None else data
    say(f"data: {data.name}, {', '.join(f'{n:,} {split}' for split, n in data.sizes.items())}")
    student_notice(config, data, say)
    write_json(out / records.RUN, _about(config, data, command))
    stage = _prepare(config, data, out, force, teacher, say)
    for seed in range(config.seeds):
        for name in config.arms:
            _train_arm(stage, config.arm(name), seed, out, resume, tell)
    if stage.teacher is not None:
        _write_teacher_test(stage, out)
    _write_clauses(stage, out)
    summary = summarize(config, out, data, command)
    write_report(out)
    return summary


@dataclass(frozen=True)
class _Stage:
    """What all arms of a run share."""

    config: RunConfig
    data: ImageData
    teacher: Teacher | None
    tells: Any  # the teacher, or its cached outputs
    validation_probabilities: np.ndarray | None


def _about(config: RunConfig, data: ImageData, command: str) -> dict[str, Any]:
    return {
        "config": to_mapping(config),
        "command": command,
        "versions": records.versions(),
        "machine": {**records.machine(), "threads": torch.get_num_threads()},
        "data": {
            "name": data.name,
            "sizes": data.sizes,
            "sha256": data.sha256,
            "class_names": list(data.task.class_names),
            "image_shape": list(data.task.shape),
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def student_notice(config: RunConfig, data: ImageData, say: Callable[[str], None]) -> None:
    """Say it when the image is padded: nothing is ever cut silently."""
    _, height, width = data.task.shape
    side = config.student.patch_size
    if min(height, width) >= side and (height % side or width % side):
        padded = (-(-height // side) * side, -(-width // side) * side)
        say(f"patch {side} does not divide {height} x {width}: padded right and below to {padded[0]} x {padded[1]}")


# ---------------------------------------------------------------------------------------------- teacher


def _prepare(
    config: RunConfig, data: ImageData, out: Path, force: bool, given: Teacher | None, say: Callable[[str], None]
) -> _Stage:
    if config.teacher is None and given is None:
        return _Stage(config, data, None, None, None)
    batch_size = config.training.evaluation_batch_size
    wanted = teacher_features(config.signals)
    teacher = given if given is not None else config.teacher.build(data.task, features=wanted)  # type: ignore[union-attr]
    report = ready_teacher(
        teacher, data, batch_size, probe=config.teacher is not None and config.teacher.head != "keep"
    )
    write_json(out / records.TEACHER, {**report.to_mapping(), "params": teacher.params})
    say(describe(report))
    if report.status != "ready" and not force:
        raise TeacherAtChance(
            f"{describe(report)}\nNothing can be learnt from it: fine-tune one (`stillhouse train-teacher`), name another "
            "--teacher-source, or insist with --force"
        )
    cacheable = data.augmentation == "none" and not wanted
    tells = CachedTeacher(teacher, data.train.batches(batch_size), len(data.train)) if cacheable else teacher
    validation = predict(lambda b: teacher(b).logits, data.validation, batch_size)
    return _Stage(config, data, teacher, tells, validation)


def ready_teacher(teacher: Teacher, data: ImageData, batch_size: int, *, probe: bool = True) -> TeacherReport:
    """Fit a re-made head on frozen features (training split), then score the teacher on the validation split."""
    if teacher.head_is_new and probe:
        fit_head(teacher, data.train.batches(batch_size))
    return check_teacher(teacher, data.validation.batches(batch_size))


def describe(report: TeacherReport) -> str:
    """One line on a teacher: its score against chance, its calibration, whether it is fit to teach."""
    return (
        f"teacher: {report.name}, validation accuracy {report.score:.2%} (chance {report.chance:.2%}), "
        f"ECE {report.ece:.3f}: {report.status}"
    )


def _write_teacher_test(stage: _Stage, out: Path) -> None:
    """The teacher on the test split, read once, after every arm is trained."""
    teacher, batch_size = stage.teacher, stage.config.training.evaluation_batch_size
    assert teacher is not None
    probabilities = predict(lambda b: teacher(b).logits, stage.data.test, batch_size)
    write_arrays(out / records.TEACHER_PREDICTIONS, probabilities=probabilities)
    metrics = evaluate(probabilities, stage.data.test.labels.numpy(), None)
    known = read_json(out / records.TEACHER)
    write_json(out / records.TEACHER, {**known, "test_score": metrics["accuracy"], "test_ece": metrics["ece"]})


# ---------------------------------------------------------------------------------------------- arms


def _train_arm(stage: _Stage, arm: Arm, seed: int, out: Path, resume: bool, tell: Tell) -> None:
    config, data = stage.config, stage.data
    folder = arm_folder(out, arm.name, seed)
    if resume and (folder / records.RESULT).is_file():
        return
    torch.manual_seed(seed)
    student = arm.student.build(data.task)
    lesson = _lesson(stage, arm, student)
    done = fit_classifier(
        student,
        data,
        config.training,
        seed=seed,
        folder=folder,
        lesson=lesson,
        resume=resume,
        tell=lambda progress, news: tell(arm.name, seed, progress, news),
    )
    device = next(student.parameters()).device
    probabilities = predict(lambda b: student(b.inputs.to(device)), data.test, config.training.evaluation_batch_size)
    labels = data.test.labels.numpy()
    write_arrays(folder / records.PREDICTIONS, labels=labels, probabilities=probabilities)
    save_student(folder, student, arm.student, data.task)
    result = {
        "arm": arm.name,
        "seed": seed,
        "metrics": evaluate(probabilities, labels, None),
        "validation": done.best,
        "best_epoch": done.best_epoch,
        "epochs": done.epochs,
        "seconds": done.seconds,
        "params": sum(p.numel() for p in student.parameters()),
    }
    if seed == 0:
        result["cost"] = measure_cost(student.cpu(), data.task.shape, folder / records.STUDENT)
    write_json(folder / records.RESULT, result)


def _lesson(stage: _Stage, arm: Arm, student: torch.nn.Module) -> Lesson:
    from stillhouse.layers.taps import Tapped

    validation = stage.validation_probabilities
    if not arm.taught or stage.teacher is None:
        return Lesson(validation_probabilities=validation)
    signals = stage.config.signals
    features = student_features(signals)
    tapped = Tapped(student, features)
    spec = tapped.spec(torch.zeros(2, *stage.data.task.shape))
    tapped.close()
    return Lesson(stage.tells, build_signals(signals, spec, stage.teacher.spec), features, validation)


def _write_clauses(stage: _Stage, out: Path) -> None:
    """The clauses that vote most for each class, from the reference arm's first seed, over validation images."""
    from stillhouse.students.card import load_student
    from stillhouse.students.tsetlin.interpret import strongest_clauses

    config = stage.config
    if config.student.feed_forward != "clauses":
        return
    student = load_student(arm_folder(out, config.reference, 0))
    split = stage.data.validation
    pixels = split.batch(torch.arange(len(split))).inputs
    index, images, maps = strongest_clauses(student, pixels, split.labels, stage.data.task.class_names)
    write_arrays(out / records.CLAUSE_IMAGES, images=images, maps=maps)
    write_json(out / records.CLAUSES, index)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed npz file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
