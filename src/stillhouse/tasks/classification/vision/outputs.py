"""What is written after a model is trained, beside its run: a checkpoint for torch, clause usage, overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.machine import versions
from stillhouse.core.records import arm_folder, read_object, write_json
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.rules_file import TEXT
from stillhouse.tasks.classification.specialize import clause_usage, has_clauses, set_gains
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.board import epochs_of
from stillhouse.tasks.classification.vision.config import VisionConfig

USAGE = "clause_usage.json"


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
    first = arm_folder(folder, plan.reference, 0)
    student = TASK.load(first)
    found: dict[str, Any] = {}
    if hasattr(student, "named_blocks") and has_clauses(student):
        found["clause_usage"] = _usage(student, plan, data, folder)
    if config.output.save_path is not None and hasattr(student, "named_blocks"):
        path = _own_path(config, plan, Path(config.output.save_path))
        save_checkpoint(path, student, plan, data, read_object(first / records.RESULT, records.FIGURES))
        found["checkpoint"] = str(path)
        callback.log(f"Saved checkpoint to {path}")
    if config.output.overlays is not None and config.output.overlay_samples and hasattr(student, "named_blocks"):
        from stillhouse.tasks.classification.vision.overlays import draw_overlays, write_overlays

        write_overlays(student, data, folder, config.output.overlay_samples)
        pictures = draw_overlays(folder, Path(config.output.overlays), topk=config.output.overlay_topk)
        found["overlays"] = [str(path) for path in pictures]
        callback.log(f"{len(pictures)} overlays in {config.output.overlays}")
    if config.output.bitpack and plan.student.kind == "flat-tm":
        from stillhouse.tasks.classification.vision.packed import compare_packed

        found["packed"] = compare_packed(student, data, folder, plan.training.evaluation_batch_size)
    if (folder / TEXT).is_file():
        found["rules"] = str(folder / TEXT)
    return found


def save_checkpoint(
    path: Path, student: Any, plan: ClassificationRunConfig, data: ImageData, result: dict[str, Any]
) -> None:
    """The exchange file: `UnifiedTMTransformer(**ckpt["model_kwargs"])`, `load_state_dict(ckpt["model_state"])`, same logits."""
    from stillhouse.tasks.classification.students.transformer import save_transformer

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


def _own_path(config: VisionConfig, plan: ClassificationRunConfig, path: Path) -> Path:
    """The path itself, with the model's name in it where there are several models."""
    if len(config.models) == 1:
        return path
    return path.with_name(f"{path.stem}-{plan.name.removeprefix(config.name + '-')}{path.suffix}")


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
    last = epochs[-1]["losses"] if epochs else {}
    validation = {str(arm): _validation(folder, arm, summary["seeds"]) for arm in plan.arms}
    return {
        "label": plan.name,
        "test_accuracy": summary["arms"][plan.reference]["accuracy"]["mean"],
        "test_accuracies": summary["arms"][plan.reference]["accuracy"]["values"],
        "arms": {arm: summary["arms"][arm]["accuracy"] for arm in plan.arms},
        "plain": {arm: summary["arms"][arm]["accuracy"] for arm in summary["plain"]},
        "comparisons": summary["comparisons"],
        "validation_accuracy": validation[plan.reference],
        "validation_accuracies": validation,
        "train_accuracy": epochs[-1].get("train_accuracy") if epochs else None,
        "best_epoch": result["best_epoch"],
        "teacher_kd_loss": last.get("teacher_kd_loss"),
        "losses": last,
        "epochs": epochs,
        "params": result["params"],
        "arm_params": {arm: costs["params"] for arm, costs in summary["costs"].items()},
        "train_seconds": result["seconds"],
        "seconds_per_epoch": result["seconds"] / max(1, result["epochs"]),
        "cost": summary["student"],
        "teacher": summary["teacher"],
        "seeds": summary["seeds"],
        "config": to_mapping(plan),
        **extras,
    }


def _validation(folder: Path, arm: str, seeds: Sequence[int]) -> float:
    """Mean over the seeds, of the weights that were kept."""
    places = [arm_folder(folder, arm, seed) / records.RESULT for seed in seeds]
    return fmean(read_object(place, {"validation": dict[str, Any]})["validation"]["accuracy"] for place in places)
