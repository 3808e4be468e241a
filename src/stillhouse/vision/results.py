"""One model's entry in `results.json`: its scores, its course by epoch, and what is needed to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse import records
from stillhouse.config import to_mapping
from stillhouse.plan import RunConfig
from stillhouse.records import arm_folder, read_json
from stillhouse.vision.board import epochs_of


def result_of(plan: RunConfig, folder: Path, summary: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a finished run.

    Args:
        plan: of the run.
        folder: its run folder.
        summary: of all arms and seeds.
        extras: files and figures written after it.
    """
    first = arm_folder(folder, plan.reference, 0)
    result = read_json(first / records.RESULT)
    epochs = epochs_of(plan, first / records.RECORDS)
    last = epochs[-1]["losses"] if epochs else {}
    return {
        "label": plan.name,
        "test_accuracy": summary["arms"][plan.reference]["accuracy"]["mean"],
        "test_accuracies": summary["arms"][plan.reference]["accuracy"]["values"],
        "arms": {arm: found["accuracy"] for arm, found in summary["arms"].items()},
        "comparisons": summary["comparisons"],
        "validation_accuracy": result["validation"]["accuracy"],
        "train_accuracy": epochs[-1].get("train_accuracy") if epochs else None,
        "best_epoch": result["best_epoch"],
        "teacher_kd_loss": last.get("teacher_kd_loss"),
        "losses": last,
        "epochs": epochs,
        "params": result["params"],
        "train_seconds": result["seconds"],
        "seconds_per_epoch": result["seconds"] / max(1, result["epochs"]),
        "cost": summary["student"],
        "teacher": summary["teacher"],
        "seeds": summary["seeds"],
        "config": to_mapping(plan),
        **extras,
    }
