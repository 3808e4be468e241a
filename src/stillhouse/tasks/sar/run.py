"""Train a focusing network on the ground truth: the teacher, or any network without one."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import processes, ranks, records
from stillhouse.core import train_teacher as shared
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.folder import SCORES, RunFolder, read_arrays
from stillhouse.core.records import write_arrays, write_json
from stillhouse.core.verdict import mean_interval
from stillhouse.report.page import write_page
from stillhouse.tasks.sar.compare import teacher_rows
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.job import SarJob
from stillhouse.tasks.sar.monitor import MONITOR, SarMonitor, find_wandb, mode_of
from stillhouse.tasks.sar.objective import SarObjective
from stillhouse.tasks.sar.pictures import write_pictures
from stillhouse.tasks.sar.plan import SarTrainConfig
from stillhouse.tasks.sar.saved import BEST, TEACHER_WEIGHTS, load_model, save_documented, save_model
from stillhouse.tasks.sar.task import TASK, data_facts, load_data, scores_of
from stillhouse.tasks.sar.teacher import LineTeacher, in_units
from stillhouse.training.loop import Fit

ARM = "train"


def train(
    config: SarTrainConfig, out: Path, *, resume: bool = False, callback: Callback = NULL_CALLBACK
) -> dict[str, Any]:
    """Train a network on the ground truth; the folder holds its weights in our form and where the documents look for them.

    See `core.train_teacher.train`.
    """
    out = Path(out)
    if config.wandb:
        find_wandb()
    how = shared.TeacherTraining(
        kind=TASK.kind,
        data=partial(load_data, config.data),
        facts=data_facts,
        build=lambda data: config.model.build(),
        job=partial(_job, config, out),
        save=partial(_save, out),
        arm=ARM,
        finish=partial(_finish, config, callback if ranks.first() else NULL_CALLBACK),
    )
    result = shared.train(TASK, config, out, how, resume=resume, callback=callback)
    if not (out / records.REPORT).is_file():
        processes.on_first(lambda: write_page(TASK, out))
    callback.log(f"report: {out / records.REPORT}")
    return result


def _job(config: SarTrainConfig, out: Path, model: Any, data: SarData) -> SarJob:
    monitor = None
    if ranks.first():
        name = config.name if config.wandb else None
        monitor = SarMonitor(out / MONITOR, wandb=name, mode=mode_of(config.wandb), settings=to_mapping(config))
    objective = SarObjective(alpha=1.0, beta=0.0, gamma=0.0, student_loss=config.loss)
    given: dict[str, Any] = {"seed": config.seed, "objective": objective, "monitor": monitor, "delta": config.delta}
    return SarJob(model, data, config.training, **given)


def _save(out: Path, model: Any, data: SarData, done: Fit) -> tuple[LineTeacher, dict[str, Any]]:
    """Weights, and its figures on every test line."""
    model.cpu()
    processes.on_first(lambda: save_model(out, model, data, weights=TEACHER_WEIGHTS))
    processes.on_first(lambda: save_documented(out / BEST, model))
    scores = scores_of(LineTeacher(model), data)
    write_arrays(out / SCORES, **scores.items)
    means = {name: float(np.mean(x)) for name, x in scores.items.items()}
    return LineTeacher(model, name=str(out)), {"metrics": means | dict(scores.scalars)}


def _finish(config: SarTrainConfig, callback: Callback, folder: RunFolder, data: SarData) -> None:
    """Filters and times beside it, pictures, and the summary for the page."""
    out = folder.path
    network = in_units(*load_model(out), data)
    if config.compare:
        callback.log("comparing with filters and measuring times (compare=false leaves it out)")
        teacher_rows(out, data, network, callback.log)
    callback.log("drawing pictures")
    write_pictures(out, data, {"network": network})
    processes.on_first(lambda: write_json(out / records.SUMMARY, _summary(out)))


def _summary(out: Path) -> dict[str, Any]:
    """Quality and coherence over the test lines, for the page; nothing is compared, so there is no verdict."""
    figures: dict[str, Any] = {}
    for name, values in read_arrays(out / SCORES).items():
        interval = asdict(mean_interval(values[None])) if len(values) > 1 else {"mean": float(values.mean())}
        figures[name] = {**interval, "values": [float(values.mean())]}
    return {"kind": TASK.kind, "headline": "How well it focuses", "comparisons": [], "arms": {ARM: figures}}
