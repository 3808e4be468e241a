"""Focusing runs from configuration to report: simulate data, train a network, distill students, evaluate what was saved."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.core.records import arm_folder, open_run_folder, read_json, write_arrays, write_json
from stillhouse.core.types import Progress
from stillhouse.core.verdict import compare, mean_interval
from stillhouse.families.sar.compare import compare_run, focused, in_units, teacher_of, teacher_rows
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.job import FocusTeacher, SarJob
from stillhouse.families.sar.metrics.lines import coherence_map
from stillhouse.families.sar.monitor import SarMonitor, find_wandb
from stillhouse.families.sar.objective import SarObjective
from stillhouse.families.sar.plan import SarArm, SarDistillConfig, SarTrainConfig, complete
from stillhouse.families.sar.report import FOCUS, write_sar_report
from stillhouse.families.sar.saved import (
    BEST,
    FINAL,
    FINAL_CONFIG,
    load_model,
    save_documented,
    save_documented_config,
    save_model,
)
from stillhouse.families.sar.score import CUT_AXIS, POINTS, judge, line_figures, point_cut, point_figures, rivals
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import check_device
from stillhouse.training.loop import Fit, fit

OnProgress = Callable[[str, int, Progress, Mapping[str, float | None]], None]
Say = Callable[[str], None]
LINES = "lines.npz"
MONITOR = "distillation"  # TensorBoard folder that the founding document names
SHOWN_LINES, SHOWN_POINTS = 48, 2
VERDICT_METRICS = ("quality", "coherence")


def train(
    config: SarTrainConfig,
    out: Path,
    *,
    resume: bool = False,
    wandb: bool = False,
    command: str | None = None,
    say: Say = lambda line: None,
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Train a network on the ground truth; the folder holds its weights in our form and where the document looks for them.

    Args:
        config: the run as one value.
        out: run folder; made, or gone on with if `resume`.
        resume: go on from the checkpoint; a finished training is not repeated.
        wandb: also log to Weights & Biases, offline.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        on_progress: told the progress of the training.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: data, folder or device do not fit.
        Interrupted: stopped on request, state saved.
    """
    training = complete(config.training)
    check_device(training.device)
    if wandb:
        find_wandb()
    data = _data(config.data, say)
    open_run_folder(out, to_mapping(config), resume=resume)  # after all that can be refused: the folder is then taken
    write_json(out / records.RUN, _about("sar-train", config, data, command))
    if not (resume and (out / records.RESULT).is_file()):
        torch.manual_seed(config.seed)
        model = config.model.build()
        monitor = SarMonitor(out / MONITOR, wandb=config.name if wandb else None, settings=to_mapping(config))
        objective = SarObjective(alpha=1.0, beta=0.0, gamma=0.0, student_loss=config.loss)
        job = SarJob(model, data, training, seed=config.seed, objective=objective, monitor=monitor, delta=config.delta)
        done = fit(
            job,
            training,
            seed=config.seed,
            folder=out,
            resume=resume,
            on_progress=partial(on_progress, "train", config.seed),
        )
        _write_result(out, "train", config.seed, model.cpu(), data, done)
        save_documented(out / BEST, model)
    network = _own(out, data)
    say("comparing with filters and measuring times")
    teacher_rows(out, data, network)
    _write_pictures(out, data, {"network": network})
    say(f"report: {write_sar_report(out)}")
    return dict(read_json(out / records.RESULT))


def distill(
    config: SarDistillConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    wandb: bool = False,
    command: str | None = None,
    say: Say = lambda line: None,
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Train every arm and seed, say whether the teacher helped, compare with what needs no training, write the report.

    Args:
        config: the run as one value.
        out: run folder.
        resume: skip finished arms and go on inside the unfinished one.
        force: distill although the teacher is no better than silence.
        wandb: also log to Weights & Biases, offline.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        on_progress: told the progress of each training.

    Returns:
        What `summary.json` holds.

    Raises:
        InputError: data, folder, device or teacher do not fit; the teacher focuses nothing and `force` is off.
        Interrupted: stopped on request, state saved.
    """
    training = complete(config.training)
    check_device(training.device)
    if wandb:
        find_wandb()
    data = _data(config.data, say)
    teacher = teacher_of(config, data)
    told = judge(focused(teacher, data.test.inputs), data.test, data.valid)
    say(f"teacher: quality {told['quality']:.4f}, coherence {told['coherence']:.4f} on the test lines")
    if not math.isfinite(told["quality"]):
        raise InputError("teacher: its outputs are not finite numbers; its weights hold a NaN or an infinity")
    if told["quality"] <= 0 and not force:
        raise InputError(
            f"teacher: expected one that is better than silence (quality above 0), got {told['quality']:.3f}: it has nothing to "
            "teach; train it longer, or take --force"
        )
    open_run_folder(out, to_mapping(config), resume=resume, may_grow=("seeds", "arms"))  # as in `train`
    write_json(out / records.RUN, _about("sar-distill", config, data, command))
    write_json(out / records.TEACHER, {"checkpoint": config.teacher_checkpoint, "metrics": told})
    for seed in range(config.seeds):
        for arm in config.arms:
            if not (resume and (arm_folder(out, arm, seed) / records.RESULT).is_file()):
                _train_arm(
                    config, training, arm, seed, data, teacher, out, resume=resume, wandb=wandb, on_progress=on_progress
                )
    model, _ = load_model(arm_folder(out, config.arms[0], 0))
    save_documented(out / FINAL, model)
    save_documented_config(out / FINAL_CONFIG, model.config)
    say("comparing with truncation and filters, measuring times")
    compare_run(config, out, data, teacher)
    networks: dict[str, FocusTeacher] = {"teacher": teacher}
    for arm in config.arms:
        networks[arm] = _own(arm_folder(out, arm, 0), data)
    _write_pictures(out, data, networks)
    summary = _summarize(config, out, data, told, command)
    say(f"report: {write_sar_report(out)}")
    return summary


def evaluate(folder: Path, data: SarConfig | None = None) -> dict[str, Any]:
    """Score a saved network on the test split of its own data, or of others.

    Args:
        folder: with `student.safetensors` and `card.json`.
        data: other data than those of its run.

    Raises:
        InputError: no network there, or data of other channels.
    """
    model, scale = load_model(folder)
    chosen = data or data_of(folder)
    built = chosen.build()
    if built.channels != model.config.input_dim:
        raise InputError(
            f"{folder}: the network takes {model.config.input_dim} channels, {built.name} has {built.channels}"
        )
    network = in_units(model, scale, built)
    figures: dict[str, Any] = judge(focused(network, built.test.inputs), built.test, built.valid)
    if built.parameters is not None:
        figures["points"] = point_figures(lambda x: focused(network, x), built.points(POINTS), built.valid)
    return {"data": built.name, "lines": len(built.test), **figures}


def data_of(folder: Path) -> SarConfig:
    """The data of the run that a folder belongs to.

    Raises:
        InputError: it belongs to none.
    """
    places = [folder.resolve(), *folder.resolve().parents]
    run = next((place / records.RUN for place in places if (place / records.RUN).is_file()), None)
    if run is None:
        raise InputError(f"{folder}: it belongs to no run, so its data are not known; name a file with --config")
    return parse(SarConfig, read_json(run)["config"]["data"])


def _train_arm(
    config: SarDistillConfig,
    training: TrainingConfig,
    arm: SarArm,
    seed: int,
    data: SarData,
    teacher: FocusTeacher,
    out: Path,
    *,
    resume: bool,
    wandb: bool,
    on_progress: OnProgress,
) -> None:
    """Both arms of a seed start from the same weights and see the same lines in the same order."""
    folder = arm_folder(out, arm, seed)
    torch.manual_seed(seed)
    model = config.student.build()
    told = None
    if arm == "kd":
        told = copy.deepcopy(teacher) if not teacher.frozen else teacher
    name = f"{arm}-seed-{seed}"
    monitor = SarMonitor(
        out / MONITOR / name, wandb=f"{config.name}-{name}" if wandb else None, settings=to_mapping(config)
    )
    job = SarJob(
        model,
        data,
        training,
        seed=seed,
        objective=config.objective,
        teacher=told,
        monitor=monitor,
        delta=config.delta,
    )
    done = fit(job, training, seed=seed, folder=folder, resume=resume, on_progress=partial(on_progress, arm, seed))
    _write_result(folder, arm, seed, model.cpu(), data, done)


def _write_result(folder: Path, arm: str, seed: int, model: SarSSM, data: SarData, done: Fit) -> None:
    """The network, its figures on every test line, and `result.json` last: it says that the training is finished."""
    said = focused(FocusTeacher(copy.deepcopy(model)), data.test.inputs)
    wanted = data.test.targets[..., 0].numpy()
    write_arrays(folder / LINES, **line_figures(said[:, data.valid], wanted[:, data.valid]))
    save_model(folder, model, data)
    result = {
        "arm": arm,
        "seed": seed,
        "metrics": judge(said, data.test, data.valid),
        "validation": done.best,
        "best_epoch": done.best_epoch,
        "epochs": done.epochs,
        "seconds": done.seconds,
        "params": sum(p.numel() for p in model.parameters()),
    }
    write_json(folder / records.RESULT, result)


def _summarize(
    config: SarDistillConfig, out: Path, data: SarData, told: Mapping[str, float], command: str | None
) -> dict[str, Any]:
    """Means with intervals over seeds and lines, taught against untaught, how much of the teacher is kept."""
    found: dict[str, dict[str, np.ndarray]] = {arm: {} for arm in config.arms}
    for arm in config.arms:
        saved = [np.load(arm_folder(out, arm, seed) / LINES) for seed in range(config.seeds)]
        found[arm] = {name: np.stack([one[name] for one in saved]) for name in VERDICT_METRICS}
    comparisons = [
        {
            "name": "teacher",
            "arm": "kd",
            "control": "no-kd",
            "metric": name,
            **_plain(compare(found.get("kd", {}).get(name), found.get("no-kd", {}).get(name))),
        }
        for name in VERDICT_METRICS
    ]
    summary = {
        "verdict": comparisons[0]["verdict"],
        "comparisons": comparisons,
        "arms": {
            arm: {
                name: {
                    **_plain(mean_interval(table)),
                    "values": table.mean(1).tolist(),
                    "kept": table.mean() / told[name],
                }
                for name, table in tables.items()
            }
            for arm, tables in found.items()
        },
        "teacher": {"checkpoint": config.teacher_checkpoint, "metrics": told},
        "command": command or records.command_line(),
        "versions": records.versions(),
        "machine": records.machine(),
        "data": {"name": data.name, "sizes": data.sizes, "sha256": data.sha256},
        "seeds": list(range(config.seeds)),
    }
    write_json(out / records.SUMMARY, summary)
    return summary


def _write_pictures(out: Path, data: SarData, networks: Mapping[str, FocusTeacher]) -> None:
    """What the report draws: a patch of test lines before and after every focuser, and cuts through a few points."""
    rows = torch.arange(min(SHOWN_LINES, len(data.test)))
    inputs, targets = data.test.batch(rows)
    free = rivals(data) if data.parameters is not None else {}
    images = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
    if free:
        images["matched filter"] = free["matched filter"][0](data.test.inputs)[rows.numpy()]
    images |= {name: focused(network, inputs) for name, network in networks.items()}
    images = {name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()}
    arrays = {f"image/{name}": x for name, x in images.items()}
    for name in list(images)[2:]:
        arrays[f"map/{name}"] = coherence_map(images[name], images["target"]).astype(np.float32)
    if free:
        points = data.points(POINTS)
        lines = {"matched filter": free["matched filter"][1](points.inputs)}
        lines |= {name: focused(network, points.inputs) for name, network in networks.items()}
        places = points.positions[:SHOWN_POINTS]
        for name, x in lines.items():
            cuts = [point_cut(line, place) for line, place in zip(x[:SHOWN_POINTS], places, strict=True)]
            arrays[f"cut/{name}"] = np.stack(cuts).astype(np.float32)
        arrays["cut_axis"] = CUT_AXIS
        assert data.parameters is not None
        arrays["spacing"] = np.array(data.parameters.spacing)
    write_arrays(out / FOCUS, **arrays)


def _own(folder: Path, data: SarData) -> FocusTeacher:
    model, scale = load_model(folder)
    return in_units(model, scale, data)


def _data(config: SarConfig, say: Say) -> SarData:
    data = config.build()
    sizes = ", ".join(f"{count:,} {split}" for split, count in data.sizes.items())
    say(f"data: {data.name}, lines of {data.length}: {sizes}; judged in {data.valid.start} to {data.valid.stop}")
    if data.skipped:
        say(f"left out {data.skipped} damaged patches")
    return data


def _about(kind: str, config: Any, data: SarData, command: str | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "config": to_mapping(config),
        "command": command or records.command_line(),
        "versions": records.versions(),
        "machine": {**records.machine(), "threads": torch.get_num_threads()},
        "data": {
            "name": data.name,
            "sizes": data.sizes,
            "sha256": data.sha256,
            "length": data.length,
            "valid": [data.valid.start, data.valid.stop],
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
