"""A worker of a sweep: takes trials until none is left. Several may work on one study, on one machine or on many."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import CannotWrite, InputError, StillhouseError
from stillhouse.core.family import Family, TeacherAtChance
from stillhouse.core.records import RUN
from stillhouse.core.watch import SILENT, Watch
from stillhouse.sweeps.kept import keeping
from stillhouse.sweeps.space import as_assignment
from stillhouse.sweeps.study import (
    Plan,
    StudyChanged,
    check_trials,
    claimed,
    finish,
    next_trial,
    point_of,
    real_trials,
    sign,
)
from stillhouse.sweeps.trial import Pruned, train_trial
from stillhouse.training.interrupt import Interrupted

Build = Callable[[Mapping[str, Any]], tuple[Family[Any, Any], Any]]  # settings -> family and configuration
DATA_KEYS = ("data.", "corpus.")


def work(study: Any, plan: Plan, out: Path, build: Build, *, watch: Watch = SILENT) -> None:
    """Carry out trials until all are done or in the hands of others.

    Args:
        study: open, see `study.open_study`.
        plan: of the sweep.
        out: folder of the sweep; a trial is in `trial-NNNN`.
        build: settings -> family and configuration.
        watch: gets a line for each trial.

    Raises:
        Interrupted: stopped on request; the trial is saved and the next worker goes on with it.
        TeacherAtChance: the teacher is no better than guessing, which no setting of a student mends.
        CannotWrite: a full disk, for example; the trial counts as killed, and --resume goes on with it.
        InputError: every trial failed; the first reason.
        StudyChanged: the study has lost epochs, or the folder of a trial was damaged.
    """
    kept: dict[str, Any] = {}

    def built(settings: Mapping[str, Any]) -> tuple[Family[Any, Any], Any]:
        family, config = build(settings)
        return keeping(family, kept), config

    check_trials(study, out)
    try:
        while (trial := next_trial(study, plan, out)) is not None:
            carry_out(study, trial, plan, out, built, watch)
    except OSError as error:  # of the journal, which optuna writes
        raise CannotWrite(f"cannot write the study of {out}: {error.strerror or error}; go on with --resume") from None
    trials = real_trials(study)
    errors = [trial.user_attrs.get("error", "no reason was written down") for trial in trials]
    if trials and all(trial.state.name == "FAIL" for trial in trials):
        raise InputError(f"all {len(trials)} trials failed; the first: {errors[0]}")


def carry_out(study: Any, trial: Any, plan: Plan, out: Path, build: Build, watch: Watch) -> None:
    """Train one trial, or go on with one that was killed, and write down how it ended."""
    with claimed(out, trial.number) as mine:
        now = study._storage.get_trial(trial._trial_id)
        if not mine or now.state.is_finished():
            return
        sign(trial)
        known = set(now.intermediate_values)
        folder, trained = out / f"trial-{trial.number:04d}", list[int]()
        continued = (folder / RUN).is_file()
        settings = point_of(study, trial, plan)
        shown = ", ".join(as_assignment(key, value) for key, value in settings.items())
        name = f"trial {trial.number} ({shown})"
        trial.set_user_attr("folder", f"trial-{trial.number:04d}")
        trial.set_user_attr("settings", settings)

        def report(epoch: int, score: float) -> None:
            sign(trial)
            if epoch not in known:
                trial.report(score, epoch)
            known.add(epoch)
            trained.append(epoch)
            if plan.prune and trial.should_prune():
                raise Pruned(f"pruned after epoch {epoch}: below the median of the trials before")

        try:
            family, config = build(settings)
            command = command_of(plan, settings)
            found = train_trial(family, config, folder, seeds=plan.seeds, command=command, report=report)
            if len(known) < found.epochs:  # a validation is reported before the checkpoint that counts it is written
                raise StudyChanged(
                    f"{folder}: has {found.epochs} epochs, of which the study knows {len(known)}: it was cut off or deleted; "
                    "put it back, or choose another --out"
                )
            _same_data(study, plan, trial.number, found.data)
            if not math.isfinite(found.score):
                raise InputError(f"the {family.validated} is {found.score}")
        except (Interrupted, CannotWrite, StudyChanged):  # none is due to the settings: the trial stays to be done
            raise
        except Pruned as stop:
            finish(study, trial, "PRUNED")
            watch.log(f"{name}: {stop}")
        except (StillhouseError, RuntimeError, MemoryError) as error:
            if continued and not trained and isinstance(error, InputError):  # its folder cannot be gone on with
                raise StudyChanged(f"{name}: {error}; delete {folder}, and --resume trains it again") from None
            reason = str(error) if isinstance(error, StillhouseError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("error", reason)
            finish(study, trial, "FAIL")
            if isinstance(error, TeacherAtChance):
                raise
            watch.log(f"{name}: failed: {reason}")
        else:
            for key, value in vars(found).items():
                trial.set_user_attr(key, list(value) if isinstance(value, tuple) else value)
            finish(study, trial, "COMPLETE", found.score)
            watch.log(f"{name}: {found.score:.5g}, {found.seconds:.1f} s")


def command_of(
    plan: Plan, settings: Mapping[str, Any], *, seeds: int | None = None, out: Path | str | None = None
) -> str:
    """The command that makes a whole run of some settings: all arms, and the test split at its end."""
    words: list[str] = ["stillhouse", "distill", plan.recipe]
    assignments: Sequence[str] = [*plan.fixed, *(as_assignment(key, value) for key, value in settings.items())]
    for assignment in [*assignments, *([] if seeds is None else [f"seeds={seeds}"])]:
        words += ["--set", assignment]
    return shlex.join([*words, *([] if out is None else ["--out", str(out)])])


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
