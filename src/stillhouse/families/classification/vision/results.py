"""One model's entry in `results.json`: its scores, its course by epoch, and what is needed to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from stillhouse.core import records
from stillhouse.core.config import to_mapping
from stillhouse.core.records import arm_folder, read_object
from stillhouse.families.classification.plan import ClassificationRunConfig
from stillhouse.families.classification.vision.board import epochs_of


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
