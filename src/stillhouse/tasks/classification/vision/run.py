"""Several clause networks one after another: an ordinary run for each, then what the documents want beside it.

OUT/
  run.json           configuration, command, versions
  results.json       all models: accuracy, loss terms by name, clause usage, everything needed to reproduce
  auto_clause.json   clauses of each block before and after sharing out (with --transformer-auto-clause)
  MODEL/             an ordinary run folder (see `stillhouse.core.records`), with clause_usage.json and overlays.npz
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stillhouse.core import processes, ranks, records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import about, concluded, run
from stillhouse.core.folder import RunFolder
from stillhouse.core.machine import command_line
from stillhouse.core.outputs import check_output
from stillhouse.core.records import read_object, write_json
from stillhouse.core.task import TeacherAtChance
from stillhouse.core.types import ImageSpec
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.data.boolean_features import with_boolean_features
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.students.transformer import Block
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.auto_clause import allocate_clauses
from stillhouse.tasks.classification.vision.board import TensorBoardLogger
from stillhouse.tasks.classification.vision.config import VisionConfig
from stillhouse.tasks.classification.vision.models import ModelName
from stillhouse.tasks.classification.vision.outputs import result_of, write_outputs
from stillhouse.tasks.classification.vision.unused import unread
from stillhouse.teachers import Teacher
from stillhouse.training.device import open_run

_BLOCK = re.compile(r"^(?:stages\.\d+\.)?blocks\.\d+$|^(?:layers|stages)\.\d+$")


def places_of(student: Any, input_spec: ImageSpec) -> tuple[str, ...]:
    """Paths of the modules, first to last; the last is what the head reads. Empty where the student has no such modules.

    Args:
        student: a student's configuration.
        input_spec: what it is built for.
    """
    with torch.random.fork_rng(devices=[]):
        model = student.build(input_spec)
    names = [name for name, _ in model.named_modules()]
    blocks = [name for name in names if _BLOCK.match(name)]
    inner = [name for name in blocks if not any(other.startswith(f"{name}.") for other in blocks)]
    found = ("patch_norm", *inner, "norm")
    wanted = [name for name in found if name in names]
    if not inner or "norm" not in names:
        return ()
    return tuple(name for name in wanted if _answers(model, name, input_spec))


def heads_of(student: Any, input_spec: ImageSpec) -> dict[str, int]:
    """Where the contexts of attention heads can be read, and how many there are side by side; empty without such heads."""
    with torch.random.fork_rng(devices=[]):
        model = student.build(input_spec)
    return {
        f"{name}.contexts": block.heads.heads
        for name, block in model.named_modules()
        if isinstance(block, Block) and block.attention is not None
    }


def _answers(model: torch.nn.Module, name: str, input_spec: ImageSpec) -> bool:
    """Whether the module puts out one tensor (first of a tuple) in a forward pass: a container of others does not."""
    extractor = FeatureExtractor(model, (name,))
    try:
        return name in extractor.spec(input_spec.example(2)).features
    finally:
        extractor.close()


RESULTS, COUNTS = "results.json", "auto_clause.json"
SAVE = "--transformer-save-path"


FREE = ("features.cache", "features.force")  # decide no result, so may differ on --resume


def run_models(
    config: VisionConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    quiet: bool = True,
    data: ImageData | None = None,
    teacher: Teacher | None = None,
    command: str | None = None,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Train every model of a configuration; what is finished is kept when it is resumed.

    Args:
        config: the whole of it.
        out: folder; a run folder for each model is made in it.
        resume: continue what is there.
        force: train although the teacher is no better than chance.
        quiet: no progress bar while boolean features are built.
        data: ready data, instead of what the configuration names.
        teacher: a ready teacher, instead of the one that the configuration names.
        command: shown as the command that reproduces the run.
        callback: kept informed.

    Returns:
        What `results.json` holds.

    Raises:
        InputError: data, teacher, folder or settings do not fit.
        Interrupted: stopped on request, state saved.
    """
    command = command or command_line()
    for model in config.models:
        config.run_config(model)  # what does not fit is refused before anything is written
    config.output.check()
    check_save_path(config, out)
    grown: Any = {"may_grow": ("models", "seeds", "arms"), "may_change": FREE}
    training = config.run_config(config.models[0]).training
    with open_run(out, to_mapping(config), training, resume=resume, **grown) as top, _nothing_left(top):
        callback = callback if ranks.first() else NULL_CALLBACK
        known = about("vision", config, command)
        top.begin(known)
        read = data
        data = processes.first_then_others(
            lambda: with_boolean_features(config.data.build() if read is None else read, config.features)
        )
        known["data"] = {"name": data.name, "sizes": data.sizes, "image_shape": list(data.input_spec.shape)}
        before = _results_before(top, config) if resume else {}
        found: dict[str, Any] = {}
        for model in config.models:
            callback.log(f"model: {model}")
            plan = _plan(config, model, data, out, resume, callback)
            folder = out / model
            kept = before.get(model) if _concluded(plan, folder) else None
            with (
                TensorBoardLogger(config.output.log_dir, plan, folder, callback)
                if kept is None
                else nullcontext(callback) as board
            ):
                summary = run(
                    TASK,
                    plan,
                    folder,
                    resume=resume and (folder / records.RUN).is_file(),
                    force=force,
                    data=data,
                    teacher=teacher if plan.teacher is not None else None,
                    command=command,
                    callback=board,
                )
            outputs = partial(_outputs, config, plan, data, folder, summary, callback)
            found[model] = processes.on_first(outputs) if kept is None else kept
            write_json(out / RESULTS, {**known, "models": found})
    return {**known, "models": found}


def _results_before(top: RunFolder, config: VisionConfig) -> dict[str, Any]:
    """Entries of the models in `results.json`, with all their files, where nothing that decides them was changed since."""
    path = top.path / RESULTS
    if top.before.get("config") != to_mapping(config) or not path.is_file():
        return {}
    models = read_object(path, {"models": dict[str, dict[str, Any]]})["models"]
    return {name: entry for name, entry in models.items() if all(map(os.path.exists, _files_of(entry)))}


def _files_of(entry: Mapping[str, Any]) -> list[str]:
    """What was written for a model outside of its run."""
    usage = entry.get("clause_usage", {}).get("file")
    return [str(file) for file in (entry.get("checkpoint"), usage, *entry.get("overlays", ())) if file]


def _concluded(plan: ClassificationRunConfig, folder: Path) -> bool:
    """Whether the run of a model has nothing left to do."""
    path = folder / records.RUN
    return path.is_file() and concluded(TASK, plan, RunFolder(folder, read_object(path, records.ABOUT))) is not None


def check_save_path(config: VisionConfig, out: Path) -> None:
    """See that --transformer-save-path writes over nothing that this run, or another, is made of.

    Raises:
        InputError: it would.
    """
    if config.output.save_path is None:
        return
    path = Path(config.output.save_path)
    check_output(path, flag=SAVE)
    if path.resolve().is_relative_to(out.resolve()):
        inside = path.resolve().relative_to(out.resolve()).parts
        if inside[0] in {*config.models, Path(COUNTS).stem, records.RUN, RESULTS, COUNTS}:
            raise InputError(f"cannot write {path}: it is of the run itself; choose another {SAVE}")


@contextmanager
def _nothing_left(top: RunFolder) -> Iterator[None]:
    """Where the first model of a new run is refused (no data, a teacher at chance), trainings that shared out its clauses count for
    nothing: without them nothing was trained, and `open_run` takes away the rest.
    """
    try:
        yield
    except (InputError, TeacherAtChance):
        if not top.before and not any(top.path.glob(f"*/{records.RUN}")) and ranks.first():
            shutil.rmtree(top.path / Path(COUNTS).stem, ignore_errors=True)
        raise


def _outputs(config: VisionConfig, plan: Any, data: ImageData, folder: Path, summary: Any, callback: Callback) -> Any:
    return result_of(plan, folder, summary, write_outputs(config, plan, data, folder, callback=callback))


def _plan(
    config: VisionConfig, model: ModelName, data: ImageData, out: Path, resume: bool, callback: Callback
) -> ClassificationRunConfig:
    """The run of one model, its clauses shared out if that is wanted."""
    plan = config.run_config(model)
    if config.clauses.auto and model == "transformer":
        student: Any = plan.student
        counts = allocate_clauses(config.clauses, student, plan, data, out / COUNTS, resume=resume, log=callback.log)
        transformer = replace(student, tm_clauses=tuple(counts))
        config = replace(config, model=replace(config.model, transformer=transformer))
        plan = config.run_config(model)
    places = places_of(plan.student, data.input_spec)
    for line in unread(config, model, places):
        callback.log(f"unused: {line}")
    return config.run_config(model, places, heads_of(plan.student, data.input_spec) if config.measures_heads else None)
