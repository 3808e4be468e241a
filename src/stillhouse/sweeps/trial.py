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
from stillhouse.core.checks import StillhouseError
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import enter
from stillhouse.core.family import Arm, Family
from stillhouse.core.folder import RunFolder
from stillhouse.core.pipeline import train_arm
from stillhouse.core.records import write_json
from stillhouse.core.watch import SILENT, Watch

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
        cost: of the student by kind (`Family.cost`).
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
    family: Family[Any, Any],
    config: Any,
    out: Path,
    *,
    seeds: int = 1,
    command: str,
    report: Report = lambda epoch, score: None,
    watch: Watch = SILENT,
) -> Outcome:
    """Train the arm that ships and give its validation score; what is in the folder already is continued.

    Args:
        family: of the configuration.
        config: the run.
        out: its folder.
        seeds: trainings; the first reports.
        command: that makes this run.
        report: gets the validation score after every epoch of the first seed.
        watch: kept informed.

    Raises:
        Pruned: `report` raised it.
        StillhouseError: as `core.experiment.run`.
    """
    resume = (out / records.RUN).is_file()
    grown = {"may_grow": family.may_grow, "may_change": family.may_change, "may_hold": family.may_hold}
    with RunFolder.open(out, to_mapping(config), resume=resume, **grown) as folder:
        lab = enter(family, config, folder, resume=resume, command=command, watch=watch)
        arm = family.shipped(family.arms(config))
        scores, seconds, first, epochs = [], 0.0, 0, 0
        for seed in range(seeds):
            watched = reporting(family, arm, report) if seed == 0 else family
            model, done = train_arm(watched, arm, seed, lab)
            family.save(lab.place(arm.name, seed), model, arm.student, lab)
            scores.append(family.objective(done.best_rank))
            seconds += done.seconds
            if seed == 0:
                first, epochs = done.best_epoch, done.epochs
        cost = family.cost(lab.place(arm.name, 0))
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


def reporting(family: Family[Any, Any], arm: Arm, report: Report) -> Family[Any, Any]:
    """The same family, whose jobs of the arm's own student report every validation; assistants and judges are silent."""
    watched: Any = copy.copy(family)
    own: list[Any] = []
    epochs = [0]

    def student(one: Arm, choice: Any, seed: int, lab: Any) -> Any:
        network = family.student(one, choice, seed, lab)
        if choice is arm.student:
            own.append(network)
        return network

    def job(lesson: Any) -> Any:
        made = family.job(lesson)
        config = lesson.lab.config
        judges = config.curriculum is not None and config.judge == "student" and lesson.curriculum is None
        if judges or not any(lesson.student is network for network in own):
            return made
        observe, before = made.observe, sum(s.training.epochs for s in config.stages_of(arm.taught)[: lesson.number])

        def observed(validation: Any, progress: Any) -> None:
            observe(validation, progress)
            steps = max(1, progress.total_steps // max(1, lesson.stage.training.epochs))
            epochs[0] = before + round(progress.step / steps)
            report(epochs[0], family.objective(validation.rank))

        made.observe = observed  # type: ignore[method-assign]
        return made

    watched.student, watched.job = student, job
    found: Family[Any, Any] = watched
    return found
