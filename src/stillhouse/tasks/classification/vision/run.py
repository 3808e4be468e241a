"""Several clause networks one after another: an ordinary run for each, then what the documents want beside it.

OUT/
  run.json           configuration, command, versions
  results.json       all models: accuracy, loss terms by name, everything needed to reproduce
  auto_clause.json   clauses of each block before and after sharing out (with --transformer-auto-clause)
  MODEL/             an ordinary run folder (see `stillhouse.core.records`), with clause_usage.json and overlays.npz
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stillhouse.core import processes, ranks, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.experiment import run, run_metadata
from stillhouse.core.machine import command_line
from stillhouse.core.records import check_output, write_json
from stillhouse.core.types import ImageSpec
from stillhouse.tasks.classification.data.boolean_features import with_boolean_features
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.students.transformer import Block
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.auto_clause import allocate_clauses
from stillhouse.tasks.classification.vision.config import ModelName, VisionConfig
from stillhouse.tasks.classification.vision.outputs import result_of, write_outputs
from stillhouse.training.device import open_run

RESULTS, COUNTS = "results.json", "auto_clause.json"


def run_models(
    config: VisionConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data: ImageData | None = None,
    teacher: Any = None,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Train every model of a configuration; what is finished is kept when it is resumed.

    Args:
        config: the whole of it.
        out: folder; a run folder for each model is made in it.
        resume: continue what is there.
        force: train although the teacher is no better than chance.
        data: ready data, instead of what the configuration names.
        teacher: a ready teacher, instead of the one that the configuration names.
        callback: kept informed.

    Returns:
        What `results.json` holds.

    Raises:
        InputError: data, teacher, folder or settings do not fit.
        Interrupted: stopped on request, state saved.
    """
    for model in config.models:
        config.run_config(model)  # what does not fit is refused before anything is written
    if config.output.save_path is not None:
        check_output(Path(config.output.save_path), flag="--transformer-save-path")
        if Path(config.output.save_path).resolve().is_relative_to(out.resolve()):
            raise InputError("--transformer-save-path: expected a place outside of the run's own folder")
    with open_run(out, config, resume=resume) as top:
        callback = callback if ranks.first() else NULL_CALLBACK
        known = run_metadata("vision", config, command_line())
        top.begin(known)
        read = data
        data = processes.run_first_then_others(
            lambda: with_boolean_features(config.data.build() if read is None else read, config.features)
        )
        known["data"] = {"name": data.name, "sizes": data.sizes, "image_shape": list(data.input_spec.shape)}
        found: dict[str, Any] = {}
        for model in config.models:
            callback.log(f"model: {model}")
            plan, folder = _plan(config, model, data, out, resume, callback), out / model
            again = resume and (folder / records.RUN).is_file()
            given = None if plan.teacher is None else teacher
            summary = run(TASK, plan, folder, resume=again, force=force, data=data, teacher=given, callback=callback)

            def outputs(plan: Any = plan, folder: Path = folder, summary: Any = summary) -> dict[str, Any]:
                more = write_outputs(config.output, plan, data, folder, callback=callback)
                return {**result_of(plan, folder, summary), **more}

            found[model] = processes.run_on_first(outputs)
            write_json(out / RESULTS, {**known, "models": found})
    return {**known, "models": found}


def _plan(
    config: VisionConfig, model: ModelName, data: ImageData, out: Path, resume: bool, callback: Callback
) -> ClassificationRunConfig:
    """The run of one model, its clauses shared out if that is wanted; read-outs stand in a transformer alone."""
    plan = config.run_config(model)
    if model != "transformer":
        return plan
    student: Any = plan.student
    if config.clauses.auto:
        counts = allocate_clauses(config.clauses, plan, data, out / COUNTS, resume=resume, log=callback.log)
        student = replace(student, tm_clauses=tuple(counts))
        config = replace(config, model=replace(config.model, transformer=student))
    places, heads = places_of(student, data.input_spec)
    return config.run_config(model, places, {} if config.output.log_dir is None else heads)


def places_of(student: Any, input_spec: ImageSpec) -> tuple[tuple[str, ...], dict[str, int]]:
    """Where a transformer's parts can be read out.

    Args:
        student: its configuration.
        input_spec: what it is built for.

    Returns:
        Paths of patches, blocks and the vector that the head reads; and of the contexts of attention heads, with their number.
    """
    with torch.random.fork_rng(devices=[]):
        model = student.build(input_spec)
    blocks = {name: block for name, block in model.named_modules() if isinstance(block, Block)}
    heads = {f"{name}.contexts": block.heads.heads for name, block in blocks.items() if block.attention is not None}
    return ("patch_norm", *blocks, "norm"), heads
