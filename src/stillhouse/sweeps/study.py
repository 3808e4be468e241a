"""A sweep: which settings are tried, where trials are written down, and a worker that carries them out until none is left.

A trial is the arm that ships, trained in a run folder of its own and scored on the validation split; the test split is not scored.
The folder is that of a run that is not finished: `stillhouse distill ... --out TRIAL --resume` goes on with it.

A trial that is being trained is locked by a file, which the kernel frees when the process ends: one that the study calls running
and nobody has locked was killed, and the next worker goes on with it under its number, from its checkpoint. (optuna's heartbeat
would find that out after its grace period, and begin the trial anew under another number.)
"""

from __future__ import annotations

import json
import math
import shlex
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import TrialState

from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import CannotWrite, InputError, Interrupted, StillhouseError
from stillhouse.core.experiment import setup
from stillhouse.core.folder import diff_leaves
from stillhouse.core.manifest import run_above
from stillhouse.core.parts import TeacherAtChance, facts_of
from stillhouse.core.pipeline import train_arm
from stillhouse.core.records import RUN
from stillhouse.core.task import RunContext, Task, reference_arm
from stillhouse.report.words import score_words
from stillhouse.sweeps.space import Space, as_assignment, grid
from stillhouse.training.device import open_run

ABOUT = "stillhouse"  # the study's attribute that says what is swept
STUDY, CLAIMS = "study.db", ".claims"
Build = Callable[[Mapping[str, Any]], tuple[Task[Any, Any], Any]]  # settings -> task and configuration


class Pruned(StillhouseError):
    """The trial fell behind the others and was stopped."""

    keeps = True  # its records say why


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
        about: what must be the same in a study that is continued.
    """

    recipe: str
    fixed: tuple[str, ...]
    space: Space
    trials: int
    seeds: int
    prune: bool
    sampler: str
    about: Mapping[str, Any]

    @property
    def grid(self) -> Sequence[dict[str, Any]]:
        """Every point in order; none where a range is among the settings, or the trials are fewer."""
        points = grid(self.space)
        return points if len(points) == self.trials else []


def command_of(
    plan: Plan, settings: Mapping[str, Any], *, seeds: int | None = None, out: Path | str | None = None
) -> str:
    """The command that makes a whole run of some settings: all arms, and the test split at its end."""
    fixed = [word for word in plan.fixed if seeds is None or word.partition("=")[0].strip() != "seeds"]
    assignments = [*fixed, *(as_assignment(key, value) for key, value in settings.items())]
    assignments += [] if seeds is None else [f"seeds={seeds}"]
    words = ["stillhouse", "distill", plan.recipe, *assignments]
    return shlex.join([*words, *([] if out is None else ["--out", str(out)])])


# ---------------------------------------------------------------------------------------------- the study


def open_study(plan: Plan, name: str, out: Path, storage: str | None = None, *, resume: bool) -> Any:
    """The study of a sweep: a new one, or with `resume` the one that is there.

    Args:
        plan: of the sweep.
        name: of the study.
        out: folder of the sweep.
        storage: a database URL, or an SQLite file [`study.db` in the sweep's folder].
        resume: go on with it.

    Raises:
        InputError: the folder is of something else, the database cannot be opened, a study is there and is not to be resumed, or
            it is of another sweep: what differs is named.
    """
    if (run := run_above(out)) is not None or (out.is_dir() and any(out.iterdir()) and not (out / CLAIMS).is_dir()):
        raise InputError(f"cannot write {out}: it {'lies in a run' if run else 'is not a sweep'}; choose another --out")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", message="Choices for a categorical distribution")
    (out / CLAIMS).mkdir(parents=True, exist_ok=True)
    url = storage or str(out / STUDY)
    try:
        place = url if "://" in url else f"sqlite:///{Path(url).expanduser().resolve()}"
        engine: dict[str, Any] = {} if "://" in url else {"connect_args": {"timeout": 60}}  # while another writes
        held = optuna.storages.RDBStorage(place, engine_kwargs=engine)
        study = optuna.create_study(storage=held, study_name=name, direction="maximize", load_if_exists=True)
    except Exception as error:  # each driver has errors of its own
        raise InputError(f"--storage {url}: cannot be opened as a study: {str(error).partition(chr(10))[0]}") from None
    now, trials = json.loads(json.dumps(plan.about)), study.get_trials(deepcopy=False)
    if ABOUT not in study.user_attrs and not trials:
        study.set_user_attr(ABOUT, now)
    elif not resume:
        raise InputError(
            f"study {name!r} has {len(trials)} trials already; go on with --resume, or choose another --out"
        )
    changed = [f"{key}: was {was}, is {is_}" for key, was, is_ in diff_leaves(study.user_attrs.get(ABOUT, {}), now)]
    if changed:
        what = "; ".join(changed)
        raise InputError(f"study {name!r} is one of another sweep; it differs in {what}; choose another --out")
    study.pruner = optuna.pruners.MedianPruner()  # of best validations so far, at the same epoch
    return study


def next_trial(study: Any, plan: Plan, out: Path, stack: ExitStack) -> Any:
    """A trial that was killed, else a new one, with its settings; None where all are done or in the hands of others.

    It is this worker's for as long as the stack is open.
    """
    with FileLock(out / CLAIMS / "asking"):
        trials = study.get_trials(deepcopy=False)
        running = (trial for trial in trials if trial.state == TrialState.RUNNING)
        killed = next((trial for trial in running if _claim(out, trial.number, stack)), None)
        if killed is not None:
            trial = optuna.trial.Trial(study, killed._trial_id)
        else:
            # one that waits is of a worker that was killed before it took it
            if all(trial.state != TrialState.WAITING for trial in trials):
                if len(trials) >= plan.trials:
                    return None
                if plan.grid:
                    study.enqueue_trial(plan.grid[len(trials)])
            trial = study.ask()
            _claim(out, trial.number, stack)
    # a seed for each trial: workers that drew from the same one would try the same points
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    study.sampler = samplers[plan.sampler](seed=trial.number)
    for key, entry in plan.space.items():
        trial._suggest(key, entry)
    return trial


def _claim(out: Path, number: int, stack: ExitStack) -> bool:
    try:
        stack.enter_context(FileLock(out / CLAIMS / f"{number:04d}", timeout=0))
    except Timeout:
        return False
    return True


# ---------------------------------------------------------------------------------------------- trials


def work(study: Any, plan: Plan, out: Path, build: Build, *, callback: Callback = NULL_CALLBACK) -> None:
    """Carry out trials until all are done or in the hands of others.

    Args:
        study: open, see `open_study`.
        plan: of the sweep.
        out: folder of the sweep; a trial is in `trial-NNNN`.
        build: settings -> task and configuration.
        callback: gets a line for each trial.

    Raises:
        Interrupted: stopped on request; the trial is saved and the next worker goes on with it.
        TeacherAtChance: the teacher is no better than guessing, which no setting of a student mends.
        CannotWrite: a full disk, for example; the trial counts as killed, and --resume goes on with it.
        InputError: every trial failed; the first reason.
    """
    left = True
    while left:
        try:
            with ExitStack() as stack:
                trial = next_trial(study, plan, out, stack)
                left = trial is not None
                if left:
                    _carry_out(study, trial, plan, out, build, callback)
        except optuna.exceptions.StorageInternalError as error:
            raise CannotWrite(f"cannot write the study: {error.__cause__ or error}; go on with --resume") from None
    trials = study.get_trials(deepcopy=False)
    if trials and all(trial.state == TrialState.FAIL for trial in trials):
        raise InputError(f"all {len(trials)} trials failed; the first: {trials[0].user_attrs.get('error')}")


def _carry_out(study: Any, trial: Any, plan: Plan, out: Path, build: Build, callback: Callback) -> None:
    """Train one trial, or go on with one that was killed, and write down how it ended."""
    folder = out / f"trial-{trial.number:04d}"
    settings = {key: trial.params[key] for key in plan.space}
    name = f"trial {trial.number} ({', '.join(as_assignment(key, value) for key, value in settings.items())})"
    trial.set_user_attr("folder", folder.name)
    trial.set_user_attr("settings", settings)
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(epoch: int, score: float) -> None:
        if epoch not in known:
            trial.report(score, epoch)
        if plan.prune and trial.should_prune():
            raise Pruned(f"pruned after epoch {epoch}: below the median of the trials before")

    try:
        task, config = build(settings)
        found = train_trial(task, config, folder, seeds=plan.seeds, command=command_of(plan, settings), report=report)
        others = {other.user_attrs.get("data", found["data"]) for other in study.get_trials(deepcopy=False)}
        if others != {found["data"]} and not any(key.startswith(("data.", "corpus.")) for key in plan.space):
            raise InputError("other data than in the trials before: scores cannot be compared")
        if not math.isfinite(found["score"]):
            raise InputError(f"the {task.objective.label} is {found['score']}")
    except (Interrupted, CannotWrite):  # none is due to the settings: the trial stays to be done
        raise
    except Pruned as stop:
        study.tell(trial, state=TrialState.PRUNED)
        callback.log(f"{name}: {stop}")
    except (StillhouseError, RuntimeError, MemoryError) as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
        if isinstance(error, TeacherAtChance):
            raise
        callback.log(f"{name}: failed: {error}")
    else:
        for key, value in found.items():
            trial.set_user_attr(key, value)
        study.tell(trial, found["score"])
        callback.log(f"{name}: {score_words(found['score'], task.objective.in_percent)}, {found['seconds']:.1f} s")


class _Validations(Callback):
    """Reports each validation of the first seed."""

    def __init__(self, rank: int, report: Callable[[int, float], None]) -> None:
        self.rank, self.report = rank, report

    def on_validation(self, arm: str, seed: int, epoch: int, rank: Sequence[float]) -> None:
        """The score of the epoch."""
        if seed == 0:
            self.report(epoch, rank[self.rank])


def train_trial(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    *,
    seeds: int = 1,
    command: str,
    report: Callable[[int, float], None] = lambda epoch, score: None,
) -> dict[str, Any]:
    """Train the arm that ships and give its validation score; what is in the folder already is continued.

    Args:
        task: of the configuration.
        config: the run.
        out: its folder.
        seeds: trainings; the first reports.
        command: that makes this run.
        report: gets the validation score after every epoch of the first seed; may raise `Pruned`.

    Returns:
        `score` on the validation split, larger is better, the mean over seeds; `scores` of each; `seconds` of all trainings;
        `cost` of the student by kind; `data`: fingerprint.

    Raises:
        Pruned: `report` raised it.
        StillhouseError: as `core.experiment.run`.
    """
    resume, callback = (out / RUN).is_file(), _Validations(task.objective.rank, report)
    with open_run(out, config, resume=resume) as folder:
        context = RunContext(config, task.data(config, callback.log), folder, resume=resume, callback=callback)
        facts = facts_of(context.data)
        folder.same("data", facts)
        setup(task, context, command=command)
        arm = reference_arm(task.arms(config))
        scores, seconds = [], 0.0
        for seed in range(seeds):
            model, done = train_arm(task, arm, seed, context)
            task.save(context.place(arm.name, seed), model, arm.student, context)
            scores.append(done.best_rank[task.objective.rank])
            seconds += done.seconds
        cost, data = dict(task.cost(context.place(arm.name, 0))), str(facts["sha256"])
    return {"score": statistics.mean(scores), "scores": scores, "seconds": seconds, "cost": cost, "data": data}


def trials_of(study: Any) -> Iterator[dict[str, Any]]:
    """Every trial of a study as plain data."""
    words = {"COMPLETE": "done", "FAIL": "failed"}
    for trial in study.get_trials(deepcopy=False):
        yield {
            **{"settings": {}, "cost": {}, "seconds": None, "scores": None, "folder": None, "error": None},
            **{key: value for key, value in trial.user_attrs.items() if key != "data"},
            "number": trial.number,
            "state": words.get(trial.state.name, trial.state.name.lower()),
            "score": trial.value if trial.state == TrialState.COMPLETE else None,
            "epochs": {str(epoch): score for epoch, score in sorted(trial.intermediate_values.items())},
        }
