"""One trial: the arm that ships, trained in a run folder and scored on the validation split. The test split is not scored.

The folder is that of a run that is not finished: `stillhouse distill ... --out TRIAL --resume` goes on with it, trains the controls
and reads the test split then.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import StillhouseError
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import setup
from stillhouse.core.folder import RunFolder
from stillhouse.core.pipeline import train_arm
from stillhouse.core.records import write_json
from stillhouse.core.task import Arm, Task

RECORD = "trial.json"
Report = Callable[[int, float], None]  # epoch, score on the validation split; may raise Pruned


class Pruned(StillhouseError):
    """The trial fell behind the others and was stopped."""

    keeps = True  # its records say why


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes:
        score: on the validation split, larger is better; the mean over seeds.
        scores: of each seed.
        seconds: that training took, all seeds together.
        cost: of the student by kind (`Task.cost`).
        best_epoch: of the first seed.
        epochs: that the first seed has trained (in its last stage).
        data: fingerprint of the data.
    """

    score: float
    scores: tuple[float, ...]
    seconds: float
    best_epoch: int
    epochs: int
    cost: dict[str, float] = field(default_factory=dict)
    data: str = ""


def train_trial(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    *,
    seeds: int = 1,
    command: str,
    report: Report = lambda epoch, score: None,
    callback: Callback = NULL_CALLBACK,
) -> Outcome:
    """Train the arm that ships and give its validation score; what is in the folder already is continued.

    Args:
        task: of the configuration.
        config: the run.
        out: its folder.
        seeds: trainings; the first reports.
        command: that makes this run.
        report: gets the validation score after every epoch of the first seed.
        callback: kept informed.

    Raises:
        Pruned: `report` raised it.
        StillhouseError: as `core.experiment.run`.
    """
    resume = (out / records.RUN).is_file()
    grown = {"may_grow": task.may_grow, "may_change": task.may_change, "may_hold": task.may_hold}
    with RunFolder.open(out, to_mapping(config), resume=resume, **grown) as folder:
        context = setup(task, config, folder, resume=resume, command=command, callback=callback)
        arm = task.shipped(task.arms(config))
        scores, seconds, first, epochs = [], 0.0, 0, 0
        for seed in range(seeds):
            watched = reporting(task, arm, report) if seed == 0 else task
            model, done = train_arm(watched, arm, seed, context)
            task.save(context.place(arm.name, seed), model, arm.student, context)
            scores.append(task.objective(done.best_rank))
            seconds += done.seconds
            if seed == 0:
                first, epochs = done.best_epoch, done.epochs
        cost = task.cost(context.place(arm.name, 0))
        found = Outcome(
            statistics.mean(scores),
            tuple(scores),
            seconds,
            first,
            epochs,
            dict(cost),
            str(folder.run["data"].get("sha256")),
        )
        write_json(out / RECORD, vars(found))
    return found


def reporting(task: Task[Any, Any], arm: Arm, report: Report) -> Task[Any, Any]:
    """The same task, whose jobs of the arm's own student report every validation; assistants and judges are silent."""
    watched: Any = copy.copy(task)
    own: list[Any] = []
    epochs = [0]

    def student(one: Arm, choice: Any, seed: int, context: Any) -> Any:
        network = task.student(one, choice, seed, context)
        if choice is arm.student:
            own.append(network)
        return network

    def job(stage_context: Any) -> Any:
        made = task.job(stage_context)
        config = stage_context.context.config
        judges = (
            config.curriculum is not None and config.difficulty_model == "student" and stage_context.curriculum is None
        )
        if judges or not any(stage_context.student is network for network in own):
            return made
        on_validation_end, before = (
            made.on_validation_end,
            sum(s.training.epochs for s in config.stages_of(arm.taught)[: stage_context.number]),
        )

        def observed(validation: Any, progress: Any) -> None:
            on_validation_end(validation, progress)
            steps = max(1, progress.total_steps // max(1, stage_context.stage.training.epochs))
            epochs[0] = before + round(progress.step / steps)
            report(epochs[0], task.objective(validation.rank))

        made.on_validation_end = observed  # type: ignore[method-assign]
        return made

    watched.student, watched.job = student, job
    found: Task[Any, Any] = watched
    return found
