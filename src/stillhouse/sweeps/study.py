"""Where trials are written down: SQLite in the sweep's folder, or any database that optuna takes; and which worker has which trial.

A trial that is being trained is locked by a file, which the kernel frees when the process ends: one that the study calls running
and nobody has locked was killed, and the next worker goes on with it under its number, from its checkpoint. (optuna's heartbeat
would find that out after its grace period, and begin the trial anew under another number.)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.folder import run_above
from stillhouse.core.records import check_folder
from stillhouse.core.resume import differences
from stillhouse.sweeps.space import Space

ABOUT = "stillhouse"  # the study's attribute that says what is swept
STUDY, CLAIMS = "study.db", ".claims"
MARKS = (STUDY, "sweep.json", "trial-*", CLAIMS)  # what the folder of a sweep holds
BUSY_SECONDS = 60  # that a worker waits while another writes
STARTUP_TRIALS = 5  # before any is pruned


@dataclass(frozen=True)
class Plan:
    """What a sweep is, the same for all of its workers.

    Attributes:
        recipe: name or file, as it was given.
        fixed: `a.b=c`, of every trial.
        space: settings to try.
        trials: how many there are in all.
        seeds: trainings of each trial.
        prune: whether a trial that falls behind the median is stopped.
        sampler: tpe or random; of ranges.
        seed: of the sampler.
        grid: the points in order, where all settings are lists and no number of trials was given.
        about: what must be the same in a study that is continued.
    """

    recipe: str
    fixed: tuple[str, ...]
    space: Space
    trials: int
    seeds: int
    prune: bool
    sampler: str
    seed: int
    grid: tuple[dict[str, Any], ...]
    about: Mapping[str, Any]


def open_storage(given: str | None, out: Path) -> Any:
    """The storage of a study: a database URL, or an SQLite file [`study.db` in the sweep's folder].

    Raises:
        InputError: the database or file cannot be opened, or is none of a study; the folder is of something else.
    """
    _check_place(out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings(
        "ignore", message="Choices for a categorical distribution"
    )  # lists: as JSON they come back equal
    try:
        if given is not None and "://" in given:
            return optuna.storages.RDBStorage(given)
        path = (out / STUDY if given is None else Path(given).expanduser()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.RDBStorage(
            f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}}
        )
    except Exception as error:  # each driver has errors of its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--storage {given or out / STUDY}: cannot be opened as a study: {first}") from None


def _check_place(out: Path) -> None:
    """See that a folder is new, empty, or of a sweep: a report of trials that lie in a run would be a page of neither.

    Raises:
        InputError: it is something else, or lies in a run.
    """
    check_folder(out)
    run = run_above(out)
    if run is not None:
        where = "is a run" if run == out.resolve() else f"lies in the run {run}"
        raise InputError(
            f"cannot write {out}: it {where}, expected a new folder or one of a sweep; choose another --out"
        )
    names = [entry.name for entry in out.iterdir()] if out.is_dir() else []
    if names and not any(fnmatch(name, mark) for name in names for mark in MARKS):
        raise InputError(f"cannot write {out}: it exists and is not a sweep; choose another --out")


def open_study(storage: Any, name: str, plan: Plan, *, resume: bool) -> Any:
    """The study of a sweep: a new one, or with `resume` the one that is there.

    Raises:
        InputError: one is there and is not to be resumed, or it is of another sweep: what differs is named.
        CannotWrite: a full disk, for example.
    """
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        now = json.loads(json.dumps(plan.about))
        trials = real_trials(study)
        if ABOUT not in study.user_attrs and not trials:
            study.set_user_attr(ABOUT, now)
        elif not resume:
            raise InputError(
                f"study {name!r} has {sum(trial.state.is_finished() for trial in trials)} of {plan.trials} trials already; go on "
                "with it (or join its workers) with --resume, or choose another --out, --storage or --name"
            )
    except optuna.exceptions.StorageInternalError as error:
        raise cannot_write(name, error) from None
    changed = [f"{key}: was {was}, is {is_}" for key, was, is_ in differences(study.user_attrs.get(ABOUT, {}), now)]
    if changed:
        raise InputError(
            f"study {name!r} is one of another sweep; it differs in {'; '.join(changed)}; choose another --out, --storage or --name"
        )
    # a trial is stopped where its best validation so far is below the median of the others' at the same epoch
    study.pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS) if plan.prune else optuna.pruners.NopPruner()
    return study


def cannot_write(name: str, error: BaseException) -> CannotWrite:
    """A study that cannot be written, as one line: a full disk, for example."""
    return CannotWrite(f"cannot write the study {name!r}: {error.__cause__ or error}; go on with --resume")


def real_trials(study: Any) -> list[Any]:
    """All trials of a study."""
    return list(study.get_trials(deepcopy=False))


@contextmanager
def next_trial(study: Any, plan: Plan, out: Path) -> Iterator[Any]:
    """A trial that was killed, else a new one, with its settings; None where all are done or in the hands of others.

    It is this worker's for as long as the context is open.
    """
    (out / CLAIMS).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with FileLock(out / CLAIMS / "asking"):
            trial = _killed(study, out, stack) or _new(study, plan, out, stack)
        if trial is not None:
            # a seed for each trial: workers that drew from the same one would try the same points
            study.sampler = _sampler(plan, trial.number)
            for key, distribution in plan.space.items():
                trial._suggest(key, distribution)
        yield trial


def _killed(study: Any, out: Path, stack: ExitStack) -> Any:
    for trial in real_trials(study):
        if trial.state == optuna.trial.TrialState.RUNNING and _claim(out, trial.number, stack):
            return optuna.trial.Trial(study, trial._trial_id)
    return None


def _new(study: Any, plan: Plan, out: Path, stack: ExitStack) -> Any:
    trials = real_trials(study)
    if all(
        trial.state != optuna.trial.TrialState.WAITING for trial in trials
    ):  # a worker was killed before it took its own
        if len(trials) >= plan.trials:
            return None
        if plan.grid:
            study.enqueue_trial(plan.grid[len(trials)])
    trial = study.ask()
    _claim(out, trial.number, stack)
    return trial


def _claim(out: Path, number: int, stack: ExitStack) -> bool:
    try:
        stack.enter_context(FileLock(out / CLAIMS / f"{number:04d}", timeout=0))
    except Timeout:
        return False
    return True


def _sampler(plan: Plan, number: int) -> Any:
    seed = plan.seed * 1_000_003 + number
    if plan.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
