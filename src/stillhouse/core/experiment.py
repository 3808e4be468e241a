"""A run of any task: check the teacher, train every arm and seed, score, compare, ship, report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core import processes, ranks, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.folder import RunFolder
from stillhouse.core.machine import command_line, machine, versions
from stillhouse.core.manifest import check_file, files_of, list_files
from stillhouse.core.model_card import complete_cards
from stillhouse.core.parts import Arm, TeacherAtChance, TeacherCheck, facts_of
from stillhouse.core.pipeline import train_arm
from stillhouse.core.records import REPORT, write_arrays, write_json
from stillhouse.core.summary import TEACHER_SCORES, summarize
from stillhouse.core.task import RunContext, Task, reference_arm
from stillhouse.report.page import write_page
from stillhouse.training.device import join, open_run
from stillhouse.training.loop import Fit


def run(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data: Any = None,
    teacher: Any = None,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Carry out a whole run; every finished arm and seed is on disk before the next begins.

    Args:
        task: of the configuration (`stillhouse.tasks.task_of`).
        config: the run as one value.
        out: run folder; created, or continued with `resume`.
        resume: skip finished arms and continue inside the unfinished one; of a finished run only data and teacher are compared.
        force: train although the teacher is no better than chance.
        data: ready data, instead of what the configuration names.
        teacher: a ready teacher, instead of the one that the configuration names.
        callback: kept informed.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: data, teacher, folder or settings do not fit; data or teacher changed since the run that is resumed.
        TeacherAtChance: the teacher is no better than guessing and `force` is off.
        Interrupted: stopped on request; the state is saved.
    """
    out = Path(out)
    join(config.training)
    callback = callback if ranks.first() else NULL_CALLBACK
    command = command_line()
    with open_run(out, config, resume=resume) as folder:
        arms = task.arms(config)
        data = processes.run_first_then_others(lambda: task.data(config, callback.log)) if data is None else data
        folder.same("data", facts_of(data))
        if resume and (done := finished_summary(task, config, folder)) is not None:
            if not (out / REPORT).is_file():
                processes.run_on_first(lambda: write_page(task, out))
            callback.log(f"finished before: nothing is computed again; report: {out / REPORT}")
            return done
        context = RunContext(config, data, folder, resume=resume, callback=callback, given=teacher)
        setup(task, context, force=force, command=command)
        left = pending(arms, folder, resume)
        trained = sum(arm.seeds for arm in arms if arm.trains)
        if any(arm.trains for arm, _ in left):
            task.before_training(context)
        callback.begin(trained - sum(arm.trains for arm, _ in left), trained)
        for arm, seed in left:
            train_and_evaluate(task, arm, seed, context)
        summary = processes.run_on_first(lambda: _conclude(task, context, arms, command))
    callback.log(f"report: {processes.run_on_first(lambda: write_page(task, out))}")
    callback.log(f"curves: tensorboard --logdir {out}")
    return summary


def finished_summary(task: Task[Any, Any], config: Any, folder: RunFolder) -> dict[str, Any] | None:
    """The summary of a run that is finished and has nothing to add; None where anything is left to do, or was deleted.

    One that another version wrote is concluded again: its figures may have other names.
    """
    path, before = folder.path / records.SUMMARY, folder.before
    same = before.get("config") == to_mapping(config)
    same = same and (before.get("versions") or {}).get("stillhouse") == versions()["stillhouse"]
    if not same or not path.is_file() or pending(task.arms(config), folder, resume=True):
        return None
    try:
        check_file(path)
        summary = records.read_object(path, {"comparisons": list[Any]})
        return summary if all((folder.path / name).is_file() for name in files_of(folder.path)) else None
    except InputError:  # damaged: it is made again
        return None


def _conclude(task: Task[Any, Any], context: RunContext[Any, Any], arms: Sequence[Arm], command: str) -> dict[str, Any]:
    """Everything that needs all arms: the teacher on the test split, the shipped student, comparisons."""
    _score_teacher(task, context)
    shipped = reference_arm(arms)
    best = context.folder.ship(shipped.name, shipped.seeds)
    summary = summarize(task, arms, context.folder, {"arm": shipped.name, "seed": best})
    summary = {**summary, "command": command, "data": context.folder.run["data"]}
    summary["hints"] = []
    task.finish(context, summary)
    complete_cards(task, context.folder.path, summary)
    write_json(context.folder.path / records.SUMMARY, summary)
    list_files(context.folder.path)
    return summary


def setup(task: Task[Any, Any], context: RunContext[Any, Any], *, force: bool = False, command: str) -> None:
    """All that comes before the first training: the check of every teacher, `run.json`, what arms share.

    Args:
        task: of the configuration.
        context: configuration, data and open folder; gets teachers, their checks and what arms share.
        force: go on although the teacher is no better than chance.
        command: shown as the command that reproduces the run.

    Raises:
        InputError: data, teacher or settings do not fit, or the teacher changed since the run that is resumed.
        TeacherAtChance: the teacher is no better than guessing and `force` is off.
    """
    config, data, folder, callback = context.config, context.data, context.folder, context.callback
    teachers = processes.run_first_then_others(lambda: task.teachers(config, data, context.given, callback.log))
    known = {"sha256": _fingerprint_teachers([one.fingerprint for one in teachers])} if teachers else {}
    folder.same("teacher", known)
    checks = [check_teacher(task, one, config, data, force=force, callback=callback) for one in teachers]
    context.teachers, context.teacher_checks = teachers, checks
    folder.begin({**run_metadata(task.kind, config, command), "data": facts_of(data), "teacher": known or None})
    context.stage_teachers = processes.run_first_then_others(lambda: task.stage_teachers(context))
    if teachers:
        write_json(folder.path / records.TEACHER, _teacher_record(context))


def pending(arms: Sequence[Arm], folder: RunFolder, resume: bool) -> list[tuple[Arm, int]]:
    """What is left to do: every arm under seed 0, then under seed 1; what is fitted once comes last."""
    most = max(arm.seeds for arm in arms)
    pairs = [(arm, seed) for seed in range(most) for arm in arms if seed < arm.seeds]
    return [(arm, seed) for arm, seed in pairs if not (resume and folder.finished(arm.name, seed))]


def check_teacher(
    task: Task[Any, Any],
    teacher: Any,
    config: Any,
    data: Any,
    *,
    force: bool = False,
    callback: Callback = NULL_CALLBACK,
) -> TeacherCheck:
    """Score a teacher on the validation split, and refuse one that is no better than chance.

    Args:
        task, teacher, config, data: whose teacher, and on what.
        force: take it at chance too.
        callback: told the grade.

    Raises:
        TeacherAtChance: it is not, and `force` is off.
        InputError: its outputs are not finite numbers.
    """
    teacher_check = task.teacher_check(teacher, config, data)
    if not teacher_check.ready and not force:
        raise TeacherAtChance(
            f"{teacher_check.describe()}\nNothing can be learned from it: name or train a better one, or --force it (force=True)"
        )
    callback.log(teacher_check.describe())
    return teacher_check


def train_and_evaluate(task: Task[Any, Any], arm: Arm, seed: int, context: RunContext[Any, Any]) -> None:
    """Train (or fit) one arm with one seed, score it and leave it in its folder."""
    folder, context = context.place(arm.name, seed), task.of_seed(context, seed)
    if arm.fit is not None:
        context.callback.log(f"{arm.name}, not trained: {arm.about or 'fitted once'}")
        started = time.monotonic()
        model = arm.fit(context, seed)
        result = {"seconds": time.monotonic() - started}
    else:
        model, done = train_arm(task, arm, seed, context)
        result = {
            **described(done),
            "stopped_early": done.stopped_early,
            "params": sum(p.numel() for p in model.parameters()),
        }
        processes.run_on_first(lambda: task.save(folder, model, arm.student, context))
    with torch.no_grad():
        scores = task.score(model, arm, seed, context)
    if scores is None:
        raise InputError(f"{arm.name}, seed {seed}: task {task.kind!r} gave no scores; None is for the teacher alone")
    for name, values in scores.items.items():
        if not np.isfinite(np.asarray(values, dtype=float)).all():
            raise InputError(f"{arm.name}, seed {seed}: {name} on the test split is not finite; lower learning_rate")
    processes.run_on_first(lambda: context.folder.keep(arm.name, seed, scores, result))


def described(done: Fit) -> dict[str, Any]:
    """What `result.json` holds of a training."""
    return {
        "validation": done.best,
        "rank": list(done.best_rank),
        "best_epoch": done.best_epoch,
        "epochs": done.epochs,
        "steps": done.step,
        "seconds": done.seconds,
    }


def run_metadata(kind: str, config: Any, command: str) -> dict[str, Any]:
    """What is in `run.json` of any run."""
    return {
        "kind": kind,
        "config": to_mapping(config),
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _fingerprint_teachers(fingerprints: Sequence[str]) -> str:
    """One fingerprint of all teachers of a run."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def _teacher_record(context: RunContext[Any, Any]) -> dict[str, Any]:
    """`teacher.json`: the check of the teacher, with those of all members where several teach together."""
    checks = [one.to_mapping() for one in context.teacher_checks]
    return {**checks[-1], "members": checks[:-1]} if len(checks) > 1 else checks[-1]


@torch.no_grad()
def _score_teacher(task: Task[Any, Any], context: RunContext[Any, Any]) -> None:
    """The teacher on the test split, read once, after every arm is trained."""
    found = task.score(context.teacher, None, 0, context) if context.teacher is not None else None
    if found is None:
        return
    write_arrays(context.folder.path / TEACHER_SCORES, **{name: np.asarray(x) for name, x in found.items.items()})
    for name, arrays in found.arrays.items():
        write_arrays(context.folder.path / name, **{key: np.asarray(x) for key, x in arrays.items()})
    test: Mapping[str, Any] = {**{n: float(np.mean(x)) for n, x in found.items.items()}, **found.scalars}
    write_json(context.folder.path / records.TEACHER, {**_teacher_record(context), "test": test, **found.facts})
