"""A run of any task: check the teacher, train every arm and seed, score, compare, ship, report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core import processes, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.context import RunContext
from stillhouse.core.epochs import comparable, hints
from stillhouse.core.folder import RunFolder
from stillhouse.core.machine import command_line, machine, versions
from stillhouse.core.manifest import check_file, files_of, list_files
from stillhouse.core.model_card import complete_cards
from stillhouse.core.pipeline import check_sizes, train_arm
from stillhouse.core.records import REPORT, write_arrays, write_json
from stillhouse.core.summary import TEACHER_SCORES, summarize
from stillhouse.core.task import Arm, Task, TeacherAtChance, TeacherCheck
from stillhouse.core.verdict import untested
from stillhouse.report.page import write_page
from stillhouse.report.words import score_words
from stillhouse.training.device import join
from stillhouse.training.opening import only_first, open_run


def run(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data: Any = None,
    teacher: Any = None,
    command: str | None = None,
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
        command: shown as the command that reproduces the run.
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
    callback = only_first(callback)
    command = command or command_line()
    grown = {"may_grow": task.may_grow, "may_change": task.may_change, "may_hold": task.may_hold}
    with open_run(out, to_mapping(config), config.training, resume=resume, **grown) as folder:
        arms = task.arms(config)
        if resume and (done := concluded(task, config, folder)) is not None:
            check_same(task, config, folder, data=data, teacher=teacher, callback=callback)
            if not (out / REPORT).is_file():
                processes.on_first(lambda: write_page(task, out))
            callback.log(f"finished before: no teacher is asked, nothing is computed again; report: {out / REPORT}")
            return done
        context = setup(
            task,
            config,
            folder,
            resume=resume,
            force=force,
            data=data,
            teacher=teacher,
            command=command,
            callback=callback,
        )
        left = processes.agree([(arm.name, seed) for arm, seed in pending(arms, folder, resume)])
        trained = {arm.name for arm in arms if arm.trains}
        total = sum(arm.seeds for arm in arms if arm.name in trained)
        callback.begin(total - sum(arm in trained for arm, _ in left), total)
        for arm, seed in left:
            train_and_evaluate(task, next(one for one in arms if one.name == arm), seed, context)
        summary = processes.on_first(lambda: _conclude(task, context, arms, command))
    callback.log(f"report: {processes.on_first(lambda: write_page(task, out))}")
    callback.log(f"curves: tensorboard --logdir {out}")
    return summary


def concluded(task: Task[Any, Any], config: Any, folder: RunFolder) -> dict[str, Any] | None:
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


def check_same(
    task: Task[Any, Any], config: Any, folder: RunFolder, *, data: Any = None, teacher: Any = None, callback: Callback
) -> None:
    """See that a finished run is still of these data and this teacher, which is neither fitted nor asked for that.

    Raises:
        InputError: one of them changed.
    """
    data = _data_of(task, config, folder, data, callback)
    found = processes.first_then_others(lambda: task.identities(config, data, teacher))
    folder.same("teacher", {"sha256": _together(found)} if found else {})


def _data_of(task: Task[Any, Any], config: Any, folder: RunFolder, data: Any, callback: Callback) -> Any:
    """Data that are those of the run that is continued, if one is."""
    if data is None:
        data = processes.first_then_others(lambda: task.data(config, callback.log))
    facts = task.facts(data)
    folder.same("data", facts, keys=("sha256", *(key for key in facts if key.endswith("_sha256"))))
    return data


def _conclude(task: Task[Any, Any], context: RunContext[Any, Any], arms: Sequence[Arm], command: str) -> dict[str, Any]:
    """Everything that needs all arms: the teacher on the test split, the shipped student, comparisons."""
    _score_teacher(task, context)
    shipped = task.shipped(arms)
    best = context.folder.ship(shipped.name, shipped.seeds)
    summary = summarize(task, context.config, arms, context.folder, {"arm": shipped.name, "seed": best})
    summary = {**summary, "command": command, "data": context.folder.run["data"]}
    summary["hints"] = _at_chance(task, context, summary, shipped) or _hints(task, context, shipped)
    task.on_run_end(context, summary)
    complete_cards(task, context.folder.path, summary)
    write_json(context.folder.path / records.SUMMARY, summary)
    list_files(context.folder.path)
    return summary


def _at_chance(task: Task[Any, Any], context: RunContext[Any, Any], summary: Mapping[str, Any], arm: Arm) -> list[str]:
    """Whether the arm that ships knows no more than a guesser: then its comparisons say nothing of the teacher."""
    metric = task.metrics[0]
    found = summary["arms"][arm.name].get(metric.name, {})
    if context.teacher_check is None or context.teacher_check.metric != metric.name or not found:
        return []
    chance, items = context.teacher_check.chance, len(context.folder.scores(arm.name, 0)[metric.name])
    error = 2 * (chance * (1 - chance) / items) ** 0.5  # of a guesser's score
    low = found["mean"] - error if untested(arm.seeds) else found["low"]
    if low > chance:
        return []
    steps, share = context.folder.result(arm.name, 0).get("steps", 0), metric.scale == 100
    scores = f"{score_words(found['mean'], share)}, guessing {score_words(chance, share)}"
    return [
        f"the student ({arm.name}) is not shown to be better than chance after {steps} optimizer step{'s' * (steps != 1)} "
        f"({scores}), so nothing is said of the teacher: train longer (--epochs) or in smaller batches (--batch-size)"
    ]


def _hints(task: Task[Any, Any], context: RunContext[Any, Any], arm: Arm) -> list[str]:
    """Whether the arm that ships was trained long enough, where it was trained and did not stop by itself."""
    results = [context.folder.result(arm.name, seed) for seed in range(arm.seeds)]
    if any(result.get("validations") is None or result.get("stopped_early") for result in results):
        return []
    return hints(
        [result["validations"] for result in results],
        results[0]["epochs"],
        arm=arm.name,
        keep=context.config.stages_of(arm.taught)[-1].training.keep,
        objective=task.validated,
        in_percent=task.validated_in_percent,
    )


def setup(
    task: Task[Any, Any],
    config: Any,
    folder: RunFolder,
    *,
    resume: bool = False,
    force: bool = False,
    data: Any = None,
    teacher: Any = None,
    command: str,
    callback: Callback = NULL_CALLBACK,
) -> RunContext[Any, Any]:
    """All that comes before the first training: data, the check of every teacher, `run.json`, what arms share.

    Args:
        task: of the configuration.
        config: the run as one value.
        folder: open for writing.
        resume: the run is continued.
        force: go on although the teacher is no better than chance.
        data: ready data, instead of what the configuration names.
        teacher: a ready teacher, instead of the one that the configuration names.
        command: shown as the command that reproduces the run.
        callback: kept informed.

    Raises:
        InputError: data, teacher or settings do not fit, or changed since the run that is resumed.
        TeacherAtChance: the teacher is no better than guessing and `force` is off.
    """
    data = _data_of(task, config, folder, data, callback)
    task.check(config, data)
    teachers = processes.first_then_others(lambda: task.teachers(config, data, teacher, callback.log))
    known = {"sha256": _together([task.fingerprint(one) for one in teachers])} if teachers else {}
    folder.same("teacher", known)
    teacher_checks = [check_teacher(task, one, config, data, force=force, callback=callback) for one in teachers]
    unused = list(task.unused(config))
    for line in unused:
        callback.log(f"unused: {line}")
    context: RunContext[Any, Any] = RunContext(
        config, data, folder, teachers, teacher_checks, resume, callback, given=teacher
    )
    check_sizes(task, task.arms(config), context)
    facts = task.facts(data)
    folder.begin({**about(task.kind, config, command), "data": facts, "teacher": known or None, "unused": unused})
    processes.first_then_others(lambda: task.prepare(context))
    context.stage_teachers = task.stage_teachers(context)
    if teachers:
        write_json(folder.path / records.TEACHER, task.teacher_record(context))
    return context


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
    untaught: Callable[[TeacherCheck], tuple[str, float] | None] | None = None,
    force: bool = False,
    callback: Callback = NULL_CALLBACK,
) -> TeacherCheck:
    """Score a teacher on the validation split, and refuse one that is no better than chance.

    Args:
        task, teacher, config, data: whose teacher, and on what.
        untaught: gives what a model that nobody taught reaches there, with its name, for a grade [the task's `baseline_score`];
            a teacher below it is poor.
        force: take it at chance too.
        callback: told the grade.

    Raises:
        TeacherAtChance: it is not, and `force` is off.
        InputError: its outputs are not finite numbers.
    """
    teacher_check = task.teacher_check(teacher, config, data)
    if not teacher_check.ready and not force:
        raise TeacherAtChance(
            f"{teacher_check.describe()}\nNothing can be learned from it: name or train a better one, or insist with --force"
        )
    if untaught is not None:
        plain = untaught(teacher_check)
    else:
        plain = task.baseline_score(config, data) if teacher_check.plain is None else None
    if plain is not None:
        teacher_check = replace(teacher_check, baseline_name=plain[0], plain=plain[1])
    callback.log(teacher_check.describe())
    return teacher_check


def graded(task: Task[Any, Any], teacher: Any, config: Any, data: Any, *, callback: Callback) -> dict[str, Any]:
    """The check of a teacher that was just trained, as plain data for `TeacherCheck(**fields)`; one at chance is accepted.

    Args:
        task, teacher, config, data: whose teacher, and on what; `config` is that of its training.
        callback: told the grade.
    """
    found = check_teacher(task, teacher, config, data, force=True, callback=callback)
    return replace(found, facts={}).to_fields()


def train_and_evaluate(task: Task[Any, Any], arm: Arm, seed: int, context: RunContext[Any, Any]) -> None:
    """Train (or fit) one arm with one seed, score it and leave it in its folder."""
    folder, context = context.place(arm.name, seed), task.of_seed(context, seed)
    result: dict[str, Any] = {}
    if arm.fit is not None:
        import time

        if not arm.trains:
            context.callback.log(f"{arm.name}, not trained: {arm.about or 'fitted once'}")
        started = time.monotonic()
        model = arm.fit(context, seed)
        result = {"seconds": time.monotonic() - started}
    else:
        model, done = train_arm(task, arm, seed, context)
        result = {
            "validation": done.best,
            "rank": list(done.best_rank),
            "best_epoch": done.best_epoch,
            "epochs": done.epochs,
            "stopped_early": done.stopped_early,
            "validations": comparable(done.ranks, [task.objective(rank) for rank in done.ranks]),
            "steps": done.step,
            "seconds": done.seconds,
            "params": sum(p.numel() for p in model.parameters()),
        }
        processes.on_first(lambda: task.save(folder, model, arm.student, context))
    scores = task.score(model, arm, seed, context)
    for name, values in scores.items.items():
        if not np.isfinite(np.asarray(values, dtype=float)).all():
            raise InputError(f"{arm.name}, seed {seed}: {name} on the test split is not finite; lower learning_rate")
    processes.on_first(lambda: context.folder.keep(arm.name, seed, scores, result))


def about(kind: str, config: Any, command: str) -> dict[str, Any]:
    """What is in `run.json` of any run."""
    return {
        "kind": kind,
        "config": to_mapping(config),
        "command": command,
        "versions": versions(),
        "machine": {**machine(), "threads": torch.get_num_threads()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _together(fingerprints: Sequence[str]) -> str:
    """One fingerprint of all teachers of a run."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def _score_teacher(task: Task[Any, Any], context: RunContext[Any, Any]) -> None:
    """The teacher on the test split, read once, after every arm is trained."""
    found = task.score_teacher(context) if context.teacher is not None else None
    if found is None:
        return
    write_arrays(context.folder.path / TEACHER_SCORES, **{name: np.asarray(x) for name, x in found.items.items()})
    for name, arrays in found.arrays.items():
        write_arrays(context.folder.path / name, **{key: np.asarray(x) for key, x in arrays.items()})
    test: Mapping[str, Any] = {**{n: float(np.mean(x)) for n, x in found.items.items()}, **found.scalars}
    write_json(context.folder.path / records.TEACHER, {**task.teacher_record(context), "test": test, **found.facts})
