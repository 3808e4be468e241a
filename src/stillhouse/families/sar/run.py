"""Train a focusing network on the ground truth: the teacher, or any network without one."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core import experiment, processes, ranks, records
from stillhouse.core.config import to_mapping
from stillhouse.core.folder import SCORES, RunFolder, read_arrays
from stillhouse.core.machine import command_line
from stillhouse.core.records import read_object, write_arrays, write_json
from stillhouse.core.verdict import mean_interval
from stillhouse.core.watch import SILENT, Watch
from stillhouse.families.sar.compare import teacher_rows
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.family import FAMILY, data_facts, load_data, scores_of
from stillhouse.families.sar.job import SarJob
from stillhouse.families.sar.monitor import MONITOR, SarMonitor, find_wandb, mode_of
from stillhouse.families.sar.objective import SarObjective
from stillhouse.families.sar.pictures import write_pictures
from stillhouse.families.sar.plan import SarTrainConfig
from stillhouse.families.sar.saved import BEST, TEACHER_WEIGHTS, load_model, save_documented, save_model
from stillhouse.families.sar.teacher import LineTeacher, in_units
from stillhouse.report.page import write_page
from stillhouse.training.kept import kept_in_words
from stillhouse.training.loop import fit
from stillhouse.training.opening import only_first, open_run
from stillhouse.training.size import check_size

ARM = "train"


def train(
    config: SarTrainConfig,
    out: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    watch: Watch = SILENT,
) -> dict[str, Any]:
    """Train a network on the ground truth; the folder holds its weights in our form and where the documents look for them.

    Args:
        config: the run as one value.
        out: run folder; created, or continued with `resume`.
        resume: continue from the checkpoint; a finished training is not repeated.
        command: shown as the command that reproduces the run.
        watch: kept informed.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: data, folder or device do not fit; the data changed since the run that is resumed.
        Interrupted: stopped on request; the state is saved.
    """
    out = Path(out)
    if config.wandb:
        find_wandb()
    opened = open_run(out, to_mapping(config), config.training, resume=resume, may_change=FAMILY.may_change)
    with opened as folder:
        watch = only_first(watch)
        data = processes.first_then_others(lambda: load_data(config.data, watch.log))
        facts = data_facts(data)
        folder.same("data", facts)
        if resume and folder.before.get("config") == to_mapping(config) and (out / records.SUMMARY).is_file():
            watch.log(f"finished before: nothing is computed again; report: {out / records.REPORT}")
            return dict(read_object(out / records.RESULT, records.FIGURES))
        check_size(config.model.build, "model")
        folder.begin({**experiment.about(FAMILY.kind, config, command or command_line()), "data": facts})
        if not (resume and (out / records.RESULT).is_file()):
            _fit(config, data, folder, resume, watch)
        processes.wait()  # what process 0 wrote is there for all
        network = in_units(*load_model(out), data)
        if config.compare:
            watch.log("comparing with filters and measuring times (compare=false leaves it out)")
            teacher_rows(out, data, network, watch.log)
        watch.log("drawing pictures")
        write_pictures(out, data, {"network": network})
        processes.on_first(lambda: write_json(out / records.SUMMARY, _summary(out)))
    watch.log(f"report: {processes.on_first(lambda: write_page(FAMILY, out))}")
    return dict(read_object(out / records.RESULT, records.FIGURES))


def _fit(config: SarTrainConfig, data: SarData, folder: RunFolder, resume: bool, watch: Watch) -> None:
    """The network, its figures on every test line, and `result.json` last: it marks the training as finished."""
    out = folder.path
    torch.manual_seed(config.seed)
    model = config.model.build()
    name = config.name if config.wandb else None
    monitor = (
        SarMonitor(out / MONITOR, wandb=name, mode=mode_of(config.wandb), settings=to_mapping(config))
        if ranks.first()
        else None
    )
    objective = SarObjective(alpha=1.0, beta=0.0, gamma=0.0, student_loss=config.loss)
    seed, training = config.seed, config.training
    job = SarJob(model, data, training, seed=seed, objective=objective, monitor=monitor, delta=config.delta)
    on_progress = partial(watch.on_progress, ARM, seed)
    done = fit(job, training, seed=seed, folder=out, resume=resume, on_progress=on_progress)
    kept = kept_in_words(done, "quality")
    watch.log(kept)
    model.cpu()
    processes.on_first(lambda: save_model(out, model, data, weights=TEACHER_WEIGHTS))
    processes.on_first(lambda: save_documented(out / BEST, model))
    scores = scores_of(LineTeacher(model), data)
    write_arrays(out / SCORES, **scores.items)
    result = {
        "arm": ARM,
        "seed": seed,
        "metrics": {name: float(np.mean(x)) for name, x in scores.items.items()} | dict(scores.scalars),
        "validation": done.best,
        "best_epoch": done.best_epoch,
        "kept": kept,
        "epochs": done.epochs,
        "seconds": done.seconds,
        "params": sum(p.numel() for p in model.parameters()),
        "grade": experiment.graded(FAMILY, LineTeacher(model, name=str(out)), config, data, watch=watch),
    }
    write_json(out / records.RESULT, result)


def _summary(out: Path) -> dict[str, Any]:
    """Quality and coherence over the test lines, for the page; nothing is compared, so there is no verdict."""
    figures: dict[str, Any] = {}
    for name, values in read_arrays(out / SCORES).items():
        interval = asdict(mean_interval(values[None])) if len(values) > 1 else {"mean": float(values.mean())}
        figures[name] = {**interval, "values": [float(values.mean())]}
    return {"kind": FAMILY.kind, "headline": "How well it focuses", "comparisons": [], "arms": {ARM: figures}}
