"""What is written after a model is trained, beside its run: a checkpoint for torch, clause usage, overlays, packed bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.machine import versions
from stillhouse.core.records import arm_folder, read_object, write_json
from stillhouse.logic.packed import packed_bytes
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.specialize import clause_usage, has_clauses, set_gains
from stillhouse.tasks.classification.students.transformer import save_transformer
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.board import epochs_of, write_board
from stillhouse.tasks.classification.vision.config import VisionConfig
from stillhouse.tasks.classification.vision.overlays import draw_overlays, write_overlays

USAGE, PACKED = "clause_usage.json", "packed.json"


def write_outputs(
    config: VisionConfig,
    plan: ClassificationRunConfig,
    data: ImageData,
    folder: Path,
    *,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Write the files that the configuration asks for, from the reference arm's first seed.

    Returns:
        Their paths, and figures, for `results.json`.
    """
    output, student = config.output, TASK.load(arm_folder(folder, plan.reference, 0))
    found: dict[str, Any] = {}
    if output.log_dir is not None:
        write_board(output.log_dir, plan, folder)
    if output.bitpack and plan.student.kind == "flat-tm":
        found["packed"] = compare_packed(student, data, folder, plan.training.evaluation_batch_size)
    if not hasattr(student, "named_blocks"):
        return found
    if has_clauses(student):
        found["clause_usage"] = _usage(student, plan, data, folder)
    if output.save_path is not None:
        _save_checkpoint(Path(output.save_path), student, plan, data, folder)
        found["checkpoint"] = output.save_path
        callback.log(f"Saved checkpoint to {output.save_path}")
    if output.overlays is not None and output.overlay_samples:
        write_overlays(student, data, folder, output.overlay_samples)
        pictures = draw_overlays(folder, Path(output.overlays), topk=output.overlay_topk)
        found["overlays"] = [str(path) for path in pictures]
        callback.log(f"{len(pictures)} overlays in {output.overlays}")
    return found


def _save_checkpoint(path: Path, student: Any, plan: ClassificationRunConfig, data: ImageData, folder: Path) -> None:
    """The exchange file: `UnifiedTMTransformer(**ckpt["model_kwargs"])`, `load_state_dict(ckpt["model_state"])`, same logits."""
    result = read_object(arm_folder(folder, plan.reference, 0) / records.RESULT, records.FIGURES)
    metrics = {
        "test_accuracy": result["metrics"]["accuracy"],
        "validation": result["validation"],
        "best_epoch": result["best_epoch"],
        "train_time": result["seconds"],
    }
    meta = {
        "class_names": list(data.input_spec.class_names),
        "input": "raw pixels in [0, 1], (B, C, H, W)",
        "data": {"name": data.name, "sha256": data.sha256},
        "versions": versions(),
    }
    save_transformer(path, student, train_args=to_mapping(plan), train_metrics=metrics, meta=meta)


def _usage(student: Any, plan: ClassificationRunConfig, data: ImageData, folder: Path) -> dict[str, Any]:
    """Strength of clauses by block, and head gains: with all heads alike, and as the student has them."""
    state = {name: x.clone() for name, x in student.state_dict().items() if name.endswith("head_gains")}
    after = clause_usage(student, data.validation)
    set_gains(student, {block: entry["heads"] for block, entry in after.items()}, 0.0)
    before = clause_usage(student, data.validation)
    student.load_state_dict(state, strict=False)
    found = {
        "specialized": plan.training.clause_specialize,
        "head_gains": {name.removesuffix(".head_gains"): x.tolist() for name, x in state.items()},
        "before": {b: {n: x.tolist() for n, x in entry.items()} for b, entry in before.items()},
        "after": {b: {n: x.tolist() for n, x in entry.items()} for b, entry in after.items()},
    }
    write_json(folder / USAGE, found)
    return {
        "file": str(folder / USAGE),
        "before": {block: float(entry["clauses"].mean()) for block, entry in before.items()},
        "after": {block: float(entry["clauses"].mean()) for block, entry in after.items()},
    }


@torch.no_grad()
def compare_packed(model: Any, data: ImageData, folder: Path, batch_size: int) -> dict[str, Any]:
    """The test split by torch and by packed logic, written as `packed.json`.

    Returns:
        Seconds and accuracies of both, the share of `same_answers` and of `ties`: images whose two best scores are equal, where
        float sums may fall either way; bytes of the packed file.

    Raises:
        InputError: clauses that are no logic.
    """
    machine = lower(model.eval(), data.input_spec.class_names)
    images: Any = data.test.images
    labels = data.test.labels.numpy()
    pixels = images.float().div(255) if images.dtype == torch.uint8 else images

    def timed(scores: Callable[[Any], Any], rows: Any) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        found = np.concatenate([np.asarray(scores(some)) for some in rows.split(batch_size)])
        return time.perf_counter() - started, found

    timed(lambda rows: machine.scores(rows.numpy()), images[:1])  # compiles
    packed_seconds, packed = timed(lambda rows: machine.scores(rows.numpy()), images)
    dense_seconds, dense = timed(model, pixels)
    ranked = np.sort(packed, axis=1)
    found = {
        "dense_seconds": dense_seconds,
        "packed_seconds": packed_seconds,
        "images": len(labels),
        "same_answers": float((dense.argmax(1) == packed.argmax(1)).mean()),
        "ties": float((ranked[:, -1] == ranked[:, -2]).mean()),
        "dense_accuracy": float((dense.argmax(1) == labels).mean()),
        "packed_accuracy": float((packed.argmax(1) == labels).mean()),
        "bytes": len(packed_bytes(machine)),
    }
    write_json(folder / PACKED, found)
    return found


def result_of(
    plan: ClassificationRunConfig, folder: Path, summary: Mapping[str, Any], extras: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept of a finished run.

    Args:
        plan: of the run.
        folder: its run folder.
        summary: of all arms and seeds.
        extras: files and figures written after it.
    """
    first = arm_folder(folder, plan.reference, 0)
    result = read_object(first / records.RESULT, records.FIGURES)
    epochs = epochs_of(plan, first / records.RECORDS)
    accuracies = {arm: found["accuracy"] for arm, found in summary["arms"].items()}
    validation = {str(arm): _validation(folder, arm, summary["seeds"]) for arm in plan.arms}
    return {
        "label": plan.name,
        "test_accuracy": accuracies[plan.reference]["mean"],
        "arms": {arm: accuracies[arm] for arm in plan.arms},
        "plain": {arm: accuracies[arm] for arm in summary["plain"]},
        "comparisons": summary["comparisons"],
        "validation_accuracy": validation[plan.reference],
        "validation_accuracies": validation,
        "losses": epochs[-1]["losses"] if epochs else {},
        "epochs": epochs,
        "best_epoch": result["best_epoch"],
        "params": result["params"],
        "arm_params": {arm: costs["params"] for arm, costs in summary["costs"].items()},
        "seconds_per_epoch": result["seconds"] / max(1, result["epochs"]),
        "cost": summary["student"],
        "teacher": summary["teacher"],
        "seeds": summary["seeds"],
        "config": to_mapping(plan),
        **extras,
    }


def _validation(folder: Path, arm: str, seeds: Any) -> float:
    """Mean over the seeds, of the weights that were kept."""
    places = [arm_folder(folder, arm, seed) / records.RESULT for seed in seeds]
    return fmean(read_object(place, {"validation": dict[str, Any]})["validation"]["accuracy"] for place in places)
