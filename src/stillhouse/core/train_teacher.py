"""A training of a teacher: one network, no control, through the loop of every student, into a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from stillhouse.core import processes, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import about, graded
from stillhouse.core.folder import RunFolder
from stillhouse.core.machine import command_line
from stillhouse.core.manifest import list_files
from stillhouse.core.records import read_object, write_json
from stillhouse.core.task import Task
from stillhouse.report.words import score_words
from stillhouse.training.job import Job
from stillhouse.training.loop import Fit, fit
from stillhouse.training.opening import only_first, open_run

D = TypeVar("D")


@dataclass(frozen=True)
class TeacherTraining(Generic[D]):
    """What a task says of the training of one of its teachers.

    Attributes:
        kind: in `run.json`.
        data: reads the data.
        facts: of the data, for `run.json`; compared on resume by `same`.
        build: data -> network; the global random state decides its start.
        job: (network, data) -> what the loop trains.
        metric: of the validation, named in the line on the epoch that is kept.
        save: (network, data, training) -> writes the teacher, and gives what is graded and entries of `result.json`, "metrics"
            among them.
        same: facts that a resumed training must find as they were.
        files: that the teacher is made of; without them it is not trained.
        arm: its name, shown beside the seed.
        finish: (folder, data) -> what comes after the result (comparisons, pictures).
        last: the file that `finish` leaves at its end; without it a training is not finished.
    """

    kind: str
    data: Callable[[Callable[[str], None]], D]
    facts: Callable[[D], Mapping[str, Any]]
    build: Callable[[D], nn.Module]
    job: Callable[[nn.Module, D], Job]
    metric: str
    save: Callable[[nn.Module, D, Any], tuple[Any, Mapping[str, Any]]]
    same: tuple[str, ...] = ("sha256",)
    files: tuple[str, ...] = ()
    arm: str = "teacher"
    finish: Callable[[RunFolder, D], None] = lambda folder, data: None
    last: str = records.RESULT


def train(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    how: TeacherTraining[Any],
    *,
    resume: bool = False,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Train a teacher, score it, grade it as a run would, and save it.

    Args:
        task: that will be taught; its check is the grade.
        config: the run as one value: `training` and `seed` are read here.
        out: run folder; created, or continued with `resume`.
        how: the task's part.
        resume: continue from the checkpoint; a finished training is not repeated.
        callback: kept informed.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: data, folder or device do not fit; the data changed since the run that is resumed.
        Interrupted: stopped on request; the state is saved.
    """
    out, callback = Path(out), only_first(callback)
    mapping = to_mapping(config)
    with open_run(out, mapping, config.training, resume=resume, may_change=task.may_change) as folder:
        data = processes.first_then_others(lambda: how.data(callback.log))
        facts = how.facts(data)
        folder.same("data", facts, keys=how.same)
        trained = resume and all((out / name).is_file() for name in (records.RESULT, *how.files))
        if trained and (out / how.last).is_file() and folder.before.get("config") == mapping:
            callback.log("finished before: nothing is computed again")
            return dict(read_object(out / records.RESULT, records.FIGURES))
        folder.begin({**about(how.kind, config, command_line()), "data": facts})
        if not trained:
            torch.manual_seed(config.seed)
            model = how.build(data)
            progress, training = partial(callback.on_progress, how.arm, config.seed), config.training
            job = how.job(model, data)
            fitted = fit(job, training, seed=config.seed, folder=out, resume=resume, on_progress=progress)
            kept = kept_in_words(fitted, how.metric, in_percent=task.validated_in_percent)
            callback.log(kept)
            teacher, found = how.save(model, data, fitted)
            result = {
                "arm": how.arm,
                "seed": config.seed,
                "validation": fitted.best,
                "kept": kept,
                **{name: getattr(fitted, name) for name in ("best_epoch", "epochs", "seconds")},
                "steps": fitted.step,
                "params": sum(p.numel() for p in model.parameters()),
                **found,
                "teacher_check": graded(task, teacher, config, data, callback=callback),
            }
            write_json(out / records.RESULT, result)  # last: it marks the training as finished
        processes.wait()  # what process 0 wrote is there for all
        how.finish(folder, data)
        processes.on_first(lambda: list_files(out))
    return dict(read_object(out / records.RESULT, records.FIGURES))


def kept_in_words(done: Fit, metric: str, *, in_percent: bool = False) -> str:
    """One line: the epoch whose weights are kept, its validation score, and whether what came after was worse.

    Args:
        done: a training that is finished.
        metric: a key of `done.best`.
        in_percent: whether it is a share.

    Example:
        >>> done = Fit(epochs=6, best_epoch=4, best={"nll": 3.6}, best_rank=(-3.6,),
        ...            ranks=[(-4.1,), (-3.7,), (-3.65,), (-3.6,), (-3.8,), (-3.9,)])
        >>> kept_in_words(done, "nll")
        'kept: epoch 4 of 6 (validation nll 3.6000); the 2 after it got worse'
        >>> kept_in_words(Fit(epochs=1, best_epoch=1, best={"nll": 4.0}, best_rank=(-4.0,), ranks=[(-4.0,)]), "nll")
        'kept: the last epoch, 1 (validation nll 4.0000)'
    """
    score = done.best.get(metric)
    shown = (
        "" if score is None else f" (validation {metric} {score_words(score, True) if in_percent else f'{score:.4f}'})"
    )
    later = done.epochs - done.best_epoch
    if later == 0:
        better = any(rank > done.best_rank for rank in done.ranks)
        return f"kept: the last epoch, {done.epochs}{shown}{'; an earlier one was better' * better}"
    worse = done.ranks[-1] < done.best_rank
    after = f"the {later} after it" if later > 1 else "the one after it"
    return (
        f"kept: epoch {done.best_epoch} of {done.epochs}{shown}; {after} {'got worse' if worse else 'gained nothing'}"
    )
