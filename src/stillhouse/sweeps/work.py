"""A worker of a sweep: takes trials until none is left. Several may work on one study, on one machine or on many."""

from __future__ import annotations

import copy
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import CannotWrite, InputError, StillhouseError
from stillhouse.core.records import RUN
from stillhouse.core.task import Task, TeacherAtChance
from stillhouse.report.words import score_words
from stillhouse.sweeps.space import as_assignment
from stillhouse.sweeps.study import Plan, cannot_write, next_trial, real_trials
from stillhouse.sweeps.trial import Pruned, train_trial
from stillhouse.training.interrupt import Interrupted

Build = Callable[[Mapping[str, Any]], tuple[Task[Any, Any], Any]]  # settings -> task and configuration
Log = Callable[[str], None]
DATA_KEYS = ("data.", "corpus.")


class DamagedTrial(InputError):
    """The folder of a trial cannot be gone on with: that says nothing of the trial's settings."""


def work(study: Any, plan: Plan, out: Path, build: Build, *, callback: Callback = NULL_CALLBACK) -> None:
    """Carry out trials until all are done or in the hands of others.

    Args:
        study: open, see `study.open_study`.
        plan: of the sweep.
        out: folder of the sweep; a trial is in `trial-NNNN`.
        build: settings -> task and configuration.
        callback: gets a line for each trial.

    Raises:
        Interrupted: stopped on request; the trial is saved and the next worker goes on with it.
        TeacherAtChance: the teacher is no better than guessing, which no setting of a student mends.
        CannotWrite: a full disk, for example; the trial counts as killed, and --resume goes on with it.
        InputError: every trial failed; the first reason.
        DamagedTrial: the folder of a trial was damaged.
    """
    kept: dict[str, Any] = {}

    def built(settings: Mapping[str, Any]) -> tuple[Task[Any, Any], Any]:
        task, config = build(settings)
        return keeping(task, kept), config

    try:
        left = True
        while left:
            with next_trial(study, plan, out) as trial:
                left = trial is not None
                if left:
                    carry_out(study, trial, plan, out, built, callback)
        trials = real_trials(study)
    except optuna.exceptions.StorageInternalError as error:
        raise cannot_write(study.study_name, error) from None
    errors = [trial.user_attrs.get("error", "no reason was written down") for trial in trials]
    if trials and all(trial.state.name == "FAIL" for trial in trials):
        raise InputError(f"all {len(trials)} trials failed; the first: {errors[0]}")


def carry_out(study: Any, trial: Any, plan: Plan, out: Path, build: Build, callback: Callback) -> None:
    """Train one trial, or go on with one that was killed, and write down how it ended."""
    states = optuna.trial.TrialState
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    folder, trained = out / f"trial-{trial.number:04d}", list[int]()
    continued = (folder / RUN).is_file()
    settings = {key: trial.params[key] for key in plan.space}
    shown = ", ".join(as_assignment(key, value) for key, value in settings.items())
    name = f"trial {trial.number} ({shown})"
    trial.set_user_attr("folder", folder.name)
    trial.set_user_attr("settings", settings)

    def report(epoch: int, score: float) -> None:
        if epoch not in known:
            trial.report(score, epoch)
        known.add(epoch)
        trained.append(epoch)
        if plan.prune and trial.should_prune():
            raise Pruned(f"pruned after epoch {epoch}: below the median of the trials before")

    try:
        task, config = build(settings)
        command = command_of(plan, settings)
        found = train_trial(task, config, folder, seeds=plan.seeds, command=command, report=report)
        _same_data(study, plan, trial.number, found.data)
        if not math.isfinite(found.score):
            raise InputError(f"the {task.validated} is {found.score}")
    except (Interrupted, CannotWrite):  # none is due to the settings: the trial stays to be done
        raise
    except Pruned as stop:
        study.tell(trial, state=states.PRUNED)
        callback.log(f"{name}: {stop}")
    except (StillhouseError, RuntimeError, MemoryError) as error:
        if continued and not trained and isinstance(error, InputError):
            raise DamagedTrial(f"{name}: {error}; delete {folder}, and --resume trains it again") from None
        reason = str(error) if isinstance(error, StillhouseError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr("error", reason)
        study.tell(trial, state=states.FAIL)
        if isinstance(error, TeacherAtChance):
            raise
        callback.log(f"{name}: failed: {reason}")
    else:
        for key, value in vars(found).items():
            trial.set_user_attr(key, list(value) if isinstance(value, tuple) else value)
        study.tell(trial, found.score)
        callback.log(f"{name}: {score_words(found.score, task.validated_in_percent)}, {found.seconds:.1f} s")


def command_of(
    plan: Plan, settings: Mapping[str, Any], *, seeds: int | None = None, out: Path | str | None = None
) -> str:
    """The command that makes a whole run of some settings: all arms, and the test split at its end."""
    words: list[str] = ["stillhouse", "distill", plan.recipe]
    assignments: Sequence[str] = [*plan.fixed, *(as_assignment(key, value) for key, value in settings.items())]
    for assignment in [*assignments, *([] if seeds is None else [f"seeds={seeds}"])]:
        words += ["--set", assignment]
    return shlex.join([*words, *([] if out is None else ["--out", str(out)])])


def keeping(task: Task[Any, Any], kept: dict[str, Any]) -> Task[Any, Any]:
    """The same task, which builds data and teachers only where `Task.cache_key` differs from the trial before.

    Teachers are of the data that they were built with: other data take them along. What is no longer needed is let go before
    its successor is built, so that two never lie in memory.

    Args:
        task: of a sweep.
        kept: what a worker holds, the same mapping for all of its trials; empty at first.
    """
    found: Any = copy.copy(task)

    def data(config: Any, log: Log) -> Any:
        key = task.cache_key(config)[0]
        if "data" not in kept or kept["data_of"] != key:
            kept.clear()
            kept["data"], kept["data_of"] = task.data(config, log), key
        return kept["data"]

    def teachers(config: Any, data: Any, given: Any, log: Log) -> Any:
        if given is not None or data is not kept.get("data"):
            return task.teachers(config, data, given, log)
        key = task.cache_key(config)[1]
        if "teachers" not in kept or kept["teachers_of"] != key:
            kept.pop("teachers", None)
            kept["teachers"], kept["teachers_of"] = task.teachers(config, data, None, log), key
        return kept["teachers"]

    found.data, found.teachers = data, teachers
    whole: Task[Any, Any] = found
    return whole


def _same_data(study: Any, plan: Plan, number: int, data: str) -> None:
    """Scores on other data cannot be compared; where the data are swept, they are what is compared."""
    if any(key.startswith(DATA_KEYS) for key in plan.space):
        return
    for other in real_trials(study):
        was = other.user_attrs.get("data")
        if other.number != number and was is not None and was != data:
            raise InputError(
                f"other data than in trial {other.number} (sha256 {data[:12]} and {was[:12]}): scores cannot be compared"
            )
