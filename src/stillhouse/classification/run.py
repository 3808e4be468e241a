"""A run from its configuration to its verdict: check the teacher, train every arm and seed, compare, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stillhouse.classification.arms import Setting, train_arm
from stillhouse.classification.data import ImageData
from stillhouse.classification.lint import lint
from stillhouse.classification.plan import RunConfig
from stillhouse.classification.students import TsetlinViTConfig, UnifiedTMConfig
from stillhouse.classification.summary import summarize
from stillhouse.classification.teaching import prepare_tutors, write_teacher_test
from stillhouse.core import records
from stillhouse.core.config import to_mapping
from stillhouse.core.records import arm_folder, open_run_folder, write_arrays, write_json
from stillhouse.core.types import Progress
from stillhouse.report import write_report
from stillhouse.teachers import Teacher
from stillhouse.training.device import check_device

OnProgress = Callable[[str, int, Progress, Mapping[str, float | None]], None]


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
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
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
        on_progress: told the progress of each training: arm, seed, progress, latest figures.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: data, teacher, folder or signals do not fit.
        TeacherAtChance: the teacher is no better than guessing and `force` is off.
        Interrupted: stopped on request, state saved.
    """
    check_device(config.training.device)
    command = command or records.command_line()
    open_run_folder(out, to_mapping(config), resume=resume, may_grow=("seeds", "arms"))
    data = config.data.build() if data is None else data
    say(f"data: {data.name}, {', '.join(f'{n:,} {split}' for split, n in data.sizes.items())}")
    student_notice(config, data, say)
    for line in lint(config):
        say(f"without effect: {line}")
    write_json(out / records.RUN, _about(config, data, command))
    setting = Setting(config, data, prepare_tutors(config, data.for_teachers, out, force=force, given=teacher, say=say))
    for seed in range(config.seeds):
        for name in config.arms:
            folder = arm_folder(out, name, seed)
            if resume and (folder / records.RESULT).is_file():
                continue
            train_arm(
                setting, config.arm(name), seed, folder, resume=resume, on_progress=partial(on_progress, name, seed)
            )
    last = next((tutor for tutor in reversed(setting.tutors) if tutor is not None), None)
    if last is not None:
        write_teacher_test(last, config, data.for_teachers, out)
    _write_clauses(config, data, out)
    summary = summarize(config, out, data, command)
    write_report(out)
    return summary


def _about(config: RunConfig, data: ImageData, command: str) -> dict[str, Any]:
    return {
        "config": to_mapping(config),
        "command": command,
        "without_effect": list(lint(config)),
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
    side: int | None = getattr(config.student, "patch_size", None)
    if side is None:
        return
    _, height, width = data.task.shape
    if min(height, width) >= side and (height % side or width % side):
        padded = (-(-height // side) * side, -(-width // side) * side)
        say(f"patch {side} does not divide {height} x {width}: padded right and below to {padded[0]} x {padded[1]}")


def _write_clauses(config: RunConfig, data: ImageData, out: Path) -> None:
    """The clauses that vote most for each class, from the reference arm's first seed, over validation images."""
    from stillhouse.classification.card import load_student
    from stillhouse.families.clauses.students.interpret import strongest_clauses

    wanted = isinstance(config.student, (TsetlinViTConfig, UnifiedTMConfig))
    if not wanted or getattr(config.student, "feed_forward", "") != "clauses":
        return
    student = load_student(arm_folder(out, config.reference, 0))
    split = data.validation
    pixels = split.batch(torch.arange(len(split))).inputs
    index, images, maps = strongest_clauses(student, pixels, split.labels, data.task.class_names)
    write_arrays(out / records.CLAUSE_IMAGES, images=images, maps=maps)
    write_json(out / records.CLAUSES, index)
