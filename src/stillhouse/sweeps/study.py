"""Where trials are written down: a journal file, or any database that optuna takes; and which trial a worker does next.

A trial that is being trained is locked by its folder (`core.lock`), which the kernel frees when the process ends. So a trial that a
study calls running and nobody has locked was killed, and the next worker goes on with it from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from stillhouse.core.checks import CannotWrite, InputError, StillhouseError
from stillhouse.core.folder import run_above
from stillhouse.core.lock import RunLock
from stillhouse.core.records import RUN, check_folder
from stillhouse.core.seals import SEAL, hash_of
from stillhouse.sweeps.space import Choices, Range, Space

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
except ModuleNotFoundError:
    raise InputError(
        "sweeps need the package optuna, which is not installed: pip install 'stillhouse[sweeps]'"
    ) from None

ABOUT = "stillhouse"  # the study's attribute that says what is swept
SURPLUS = "surplus"  # of a trial that was one too many
JOURNAL = "study.journal"
MARKS = (JOURNAL, "sweep.json", "trial-*", ".claims", "worker-*.log")  # what the folder of a sweep holds
WAIT_SECONDS = 10.0  # for a study that another worker has just made
STARTING_SECONDS = 60.0  # in which a worker gives its name
LOOK_SECONDS = 0.5  # between two looks at a trial whose worker has not
STALE_SECONDS = 3600.0  # after which a trial of another machine that reported nothing counts as killed


class StudyChanged(InputError):
    """The study or the folder of a trial is not what was written: that says nothing of the trial's settings."""


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
    """The storage of a study: a database URL, a journal file, or `study.journal` in the sweep's folder.

    Raises:
        InputError: the database or file cannot be opened, or is none of a study; the folder is of something else.
    """
    _check_place(out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        if given is not None and "://" in given:
            return optuna.storages.RDBStorage(given)
        path = out / JOURNAL if given is None else Path(given).expanduser()
        if path.is_dir():
            raise InputError(f"--storage {path}: expected a file or a database URL, got a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_journal(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except StillhouseError:
        raise
    except Exception as error:  # each driver has errors of its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--storage {given or out / JOURNAL}: cannot be opened as a study: {first}") from None


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


def check_trials(study: Any, out: Path) -> None:
    """See that the study knows every trial that has a folder.

    Raises:
        StudyChanged: its records were cut off or deleted.
    """
    there = sorted(
        folder.parent.name for folder in out.glob(f"trial-*/{RUN}")
    )  # first: a trial is told before it has a folder
    known = {f"trial-{trial.number:04d}" for trial in study.get_trials(deepcopy=False)}
    lost = [name for name in there if name not in known]
    if lost:
        raise StudyChanged(
            f"{out}: holds {', '.join(lost[:5])}{', ...' * (len(lost) > 5)}, which the study {study.study_name!r} does not know: "
            f"its records ({JOURNAL} or --storage) were cut off or deleted; put them back, or choose another --out"
        )


def _check_journal(path: Path) -> None:
    """See that a file is a journal, and take away a last line that a kill cut off.

    optuna would add to the torn line, and read neither it nor what it added.

    Raises:
        InputError: it is another file, or a line was changed so that it is no entry.
    """
    lock = JournalFileSymlinkLock(str(path))  # the writers' own: nobody is in the middle of a line
    lock.acquire()
    try:
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            whole = content.rfind(b"\n") + 1
            first = content.partition(b"\n")[0]
            if whole and first.startswith(b'{"op_code"') and whole < len(content):
                file.truncate(whole)
    finally:
        lock.release()
    if content and not first.startswith(b'{"op_code"'):
        raise InputError(f"--storage {path}: cannot be opened as a study: it is another file; choose another name")
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("op_code"), int):
            raise InputError(f"{path}, line {number}: was changed after it was written: expected an entry of a journal")


def open_study(storage: Any, name: str, plan: Plan, *, resume: bool) -> Any:
    """The study of a sweep: a new one, or with `resume` the one that is there.

    Raises:
        InputError: one is there and is not to be resumed, or it is of another sweep: what differs is named.
        CannotWrite: a full disk, for example.
    """
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr(ABOUT, json.dumps(plan.about, sort_keys=True))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
        _same(study, name, plan)
        if not resume:
            done = sum(trial.state.is_finished() for trial in real_trials(study))
            raise InputError(
                f"study {name!r} has {done} of {plan.trials} trials already; go on with it (or join its workers) with "
                "--resume, or choose another --out, --storage or --name"
            ) from None
    except OSError as error:  # of the journal, which optuna writes
        raise CannotWrite(f"cannot write the study {name!r}: {error.strerror or error}; go on with --resume") from None
    study.sampler, study.pruner = _Points(plan), pruner(plan.prune)
    return study


def pruner(wanted: bool) -> Any:
    """Stops a trial whose best validation so far is below the median of the others' at the same epoch; from the sixth on."""
    return optuna.pruners.MedianPruner(n_startup_trials=5) if wanted else optuna.pruners.NopPruner()


def real_trials(study: Any) -> list[Any]:
    """Trials without those that were one too many."""
    return [trial for trial in study.get_trials(deepcopy=False) if SURPLUS not in trial.user_attrs]


def next_trial(study: Any, plan: Plan, out: Path) -> Any:
    """A trial that was killed, else a new one; None where all are done or in the hands of others."""
    while True:
        running = [trial for trial in real_trials(study) if trial.state == optuna.trial.TrialState.RUNNING]
        for trial in running:
            if _abandoned(trial, out):
                return optuna.trial.Trial(study, trial._trial_id)
        if len(real_trials(study)) < plan.trials:
            break
        if not any(map(_starting, running)):
            return None
        time.sleep(LOOK_SECONDS)  # a worker that was killed before it gave its name would leave its trial to nobody
    trial = study.ask()
    sign(trial)
    if _place(study, trial) >= plan.trials:  # another worker was faster
        trial.set_user_attr(SURPLUS, True)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None
    return trial


def point_of(study: Any, trial: Any, plan: Plan) -> dict[str, Any]:
    """The settings of a trial: those it has already, else drawn now."""
    # a seed for each trial: workers that drew from the same one would try the same points
    study.sampler = _Points(plan, _place(study, trial))
    return {key: _suggest(trial, key, entry) for key, entry in plan.space.items()}


@contextlib.contextmanager
def claimed(out: Path, number: int) -> Iterator[bool]:
    """Whether this process alone has the trial, as long as the context is open."""
    place = out / ".claims" / f"{number:04d}"
    lock = RunLock(place)
    try:
        lock.__enter__()
    except InputError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)
        with contextlib.suppress(OSError):  # another worker looks in
            place.rmdir()


def sign(trial: Any) -> None:
    """Leave a sign of life in the study."""
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("seen", time.time())


def finish(study: Any, trial: Any, state: str, value: float | None = None) -> None:
    """Write down how a trial ended, with a hash of all that it found; nothing where another worker did."""
    found = getattr(optuna.trial.TrialState, state)
    written = study._storage.get_trial(trial._trial_id)
    if not written.state.is_finished():
        trial.set_user_attr(SEAL, _hash_of(written, state, value))
    study.tell(trial.number, value, state=found, skip_if_finished=True)


def check_trial(trial: Any) -> None:
    """See that a finished trial is what `finish` wrote: neither a journal nor a database has hashes of its own.

    Raises:
        InputError: it was changed since.
    """
    if trial.state.is_finished() and trial.user_attrs.get(SEAL) != _hash_of(trial, trial.state.name, trial.value):
        raise InputError(
            f"trial {trial.number} of the study was changed after it was written: expected the sha256 that its worker wrote "
            "down, got another; choose another --out, --storage or --name"
        )


def _hash_of(trial: Any, state: str, value: float | None) -> str:
    unlike = {SEAL, "host", "seen"}
    found = {
        "number": trial.number,
        "state": state,
        "value": value if state == "COMPLETE" else None,
        "params": trial.params,
        "epochs": {str(epoch): score for epoch, score in trial.intermediate_values.items()},
        "about": {key: kept for key, kept in trial.user_attrs.items() if key not in unlike},
    }
    return hash_of(found, {})


def _abandoned(trial: Any, out: Path) -> bool:
    """Whether nobody is at a running trial any more."""
    host, seen = trial.user_attrs.get("host"), trial.user_attrs.get("seen")
    if _starting(trial):
        return False
    if host not in (None, socket.gethostname()):
        return time.time() - float(seen or 0) > STALE_SECONDS
    with claimed(out, trial.number) as free:
        return free


def _starting(trial: Any) -> bool:
    """Whether its worker may still be about to give its name."""
    begun = trial.datetime_start or datetime.now()
    return trial.user_attrs.get("host") is None and (datetime.now() - begun).total_seconds() < STARTING_SECONDS


def _place(study: Any, trial: Any) -> int:
    """How many trials that count came before."""
    return sum(one.number < trial.number for one in real_trials(study))


def _suggest(trial: Any, key: str, entry: Choices | Range) -> Any:
    if isinstance(entry, Choices):
        return entry.suggest(trial.suggest_categorical, key)
    if entry.whole:
        return trial.suggest_int(key, int(entry.low), int(entry.high), step=int(entry.step or 1), log=entry.log)
    return trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log)


def _same(study: Any, name: str, plan: Plan) -> None:
    """Refuse to add to a study what could not be compared with it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while ABOUT not in study.user_attrs and time.monotonic() < deadline:
        time.sleep(0.1)
    if not study.user_attrs and not study.get_trials(
        deepcopy=False
    ):  # its worker died between the name and what it is of
        study.set_user_attr(ABOUT, json.dumps(plan.about, sort_keys=True))
    if ABOUT not in study.user_attrs:
        raise InputError(f"study {name!r} was not made by `stillhouse sweep`; choose another --storage or --name")
    try:
        before, now = json.loads(study.user_attrs[ABOUT]), json.loads(json.dumps(plan.about))
    except (TypeError, ValueError):
        raise InputError(
            f"study {name!r} was changed after it was written: expected what it is of, got no JSON"
        ) from None
    changed = [f"{key}: was {a}, is {b}" for key, a, b in _differences(before, now)]
    if changed:
        raise InputError(
            f"study {name!r} is one of another sweep; it differs in {'; '.join(changed)}; choose another --out, --storage or --name"
        )


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        a, b = (json.dumps(x) if x is not None else "nothing" for x in (before, now))
        yield path, a[:120], b[:120]


class _Points(optuna.samplers.BaseSampler):
    """The points of a grid in their order, or draws of a sampler that is seeded anew for each trial."""

    def __init__(self, plan: Plan, place: int = 0) -> None:
        self.plan, self.place = plan, place
        seed = plan.seed * 1_000_003 + place
        kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        more = {"constant_liar": True} if plan.sampler == "tpe" else {}
        self.inner = kinds[plan.sampler](seed=seed, **more)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Settings are drawn one by one."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        """None together."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """One setting of a trial."""
        if self.plan.grid:
            entry = self.plan.space[param_name]
            assert isinstance(entry, Choices)
            return entry.labels[entry.values.index(self.plan.grid[self.place][param_name])]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)
