"""A training of a teacher: one network, no control, through the loop of every student, into a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from stillhouse.core import processes, ranks, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import check_teacher, described, run_metadata
from stillhouse.core.machine import command_line
from stillhouse.core.manifest import list_files
from stillhouse.core.parts import facts_of
from stillhouse.core.records import read_object, write_json
from stillhouse.core.task import Task
from stillhouse.training.device import open_run
from stillhouse.training.job import Job
from stillhouse.training.loop import fit

D = TypeVar("D")


@dataclass(frozen=True)
class TeacherTraining(Generic[D]):
    """What a task says of the training of one of its teachers.

    Attributes:
        kind: in `run.json`.
        data: reads the data.
        build: data -> network; the global random state decides its start.
        job: (network, data) -> what the loop trains.
        save: (network, data, training) -> writes the teacher, and gives what is checked and entries of `result.json`, "metrics"
            among them.
        arm: its name, shown beside the seed.
    """

    kind: str
    data: Callable[[Callable[[str], None]], D]
    build: Callable[[D], nn.Module]
    job: Callable[[nn.Module, D], Job]
    save: Callable[[nn.Module, D, Any], tuple[Any, Mapping[str, Any]]]
    arm: str = "teacher"


def train(
    task: Task[Any, Any],
    config: Any,
    out: Path,
    how: TeacherTraining[Any],
    *,
    resume: bool = False,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Train a teacher, score it, check it as a run would, and save it.

    Args:
        task: that will be taught, and checks the teacher.
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
    out, callback = Path(out), callback if ranks.first() else NULL_CALLBACK
    with open_run(out, config, resume=resume) as folder:
        data = processes.run_first_then_others(lambda: how.data(callback.log))
        facts = facts_of(data)
        folder.same("data", facts)
        if (out / records.RESULT).is_file() and folder.before.get("config") == to_mapping(config):
            callback.log("finished before: nothing is computed again")
            return dict(read_object(out / records.RESULT, records.FIGURES))
        folder.begin({**run_metadata(how.kind, config, command_line()), "data": facts})
        torch.manual_seed(config.seed)
        model = how.build(data)
        progress = partial(callback.on_progress, how.arm, config.seed)
        done = fit(
            how.job(model, data), config.training, seed=config.seed, folder=out, resume=resume, on_progress=progress
        )
        params = sum(p.numel() for p in model.parameters())
        teacher, found = how.save(model, data, done)
        check = check_teacher(task, teacher, config, data, force=True, callback=callback)
        checked = replace(check, facts={}).to_fields()
        result = {"arm": how.arm, "seed": config.seed, **described(done), "params": params, **found}
        write_json(out / records.RESULT, {**result, "teacher_check": checked})  # last: it marks training as finished
        processes.run_on_first(lambda: list_files(out))
    return dict(read_object(out / records.RESULT, records.FIGURES))
