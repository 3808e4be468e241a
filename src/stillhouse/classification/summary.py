"""From the folders of all arms and seeds to `summary.json`: means with intervals, comparisons, the verdict. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from stillhouse.classification.data import ImageData
from stillhouse.classification.plan import RunConfig
from stillhouse.core import records
from stillhouse.core.checks import StillhouseError
from stillhouse.core.records import arm_folder, read_json, write_json
from stillhouse.core.verdict import compare, mean_interval, seed_interval

COMPARISONS = (
    ("teacher", "kd", "no-kd"),
    ("chain", "kd", "direct"),
    ("clauses", None, "clauses-off"),
    ("clauses against MLP", None, "mlp"),
)


def summarize(config: RunConfig, out: Path, data: ImageData, command: str) -> dict[str, Any]:
    """Read what the arms left, compare them, write `summary.json` and return it."""
    seeds = list(range(config.seeds))
    items: dict[str, Any] = {arm: _per_item(out, arm, seeds) for arm in config.arms}
    right: dict[str, np.ndarray] = {arm: values["accuracy"] for arm, values in items.items()}
    comparisons = [
        {
            "name": name,
            "arm": arm or config.reference,
            "control": control,
            "metric": "accuracy",
            **_compare(right, arm or config.reference, control),
        }
        for name, arm, control in COMPARISONS
        if control in right or name == "teacher"
    ]
    results: dict[str, Any] = {
        arm: [read_json(arm_folder(out, arm, seed) / records.RESULT) for seed in seeds] for arm in config.arms
    }
    costs = {arm: found[0]["cost"] for arm, found in results.items()}
    summary = {
        "verdict": comparisons[0]["verdict"],
        "comparisons": comparisons,
        "arms": {arm: _metrics(items[arm], results[arm]) for arm in config.arms},
        "teacher": read_json(out / records.TEACHER) if (out / records.TEACHER).is_file() else None,
        "student": costs[config.reference],
        "costs": costs,
        "command": command,
        "versions": records.versions(),
        "machine": records.machine(),
        "data": {"name": data.name, "sizes": data.sizes, "sha256": data.sha256},
        "seeds": seeds,
    }
    write_json(out / records.SUMMARY, summary)
    return summary


def _per_item(out: Path, arm: str, seeds: list[int]) -> dict[str, np.ndarray]:
    """(S, N) figures of every seed on every test image: right or wrong, negative log-likelihood, agreement."""
    told = None
    if (out / records.TEACHER_PREDICTIONS).is_file():
        told = _kept(out / records.TEACHER_PREDICTIONS)["probabilities"].argmax(1)
    values: dict[str, list[np.ndarray]] = {"accuracy": [], "nll": [], "agreement": []}
    for seed in seeds:
        saved = _kept(arm_folder(out, arm, seed) / records.PREDICTIONS)
        labels, probabilities = saved["labels"], saved["probabilities"]
        said = probabilities.argmax(1)
        values["accuracy"].append(said == labels)
        picked = probabilities[np.arange(len(labels)), labels]
        values["nll"].append(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)))
        if told is not None:
            values["agreement"].append(said == told)
    return {name: np.stack(rows).astype(float) for name, rows in values.items() if rows}


def _kept(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that a finished training left."""
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StillhouseError(
            f"{path}: expected the predictions of a finished training, got {type(error).__name__}; delete its folder and go "
            "on with --resume"
        ) from None


def _metrics(items: dict[str, np.ndarray], results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, values in items.items():
        most = 1.0 if name in {"accuracy", "agreement"} else float("inf")
        found[name] = {**_interval(mean_interval(values), most), "values": values.mean(1).tolist()}
    for name, figures in {
        "ece": [r["metrics"]["ece"] for r in results],
        "seconds": [r["seconds"] for r in results],
    }.items():
        found[name] = {**_interval(seed_interval(np.array(figures, dtype=float))), "values": figures}
    return found


def _interval(interval: Any, most: float = float("inf")) -> dict[str, float]:
    """Plain numbers, cut at what the metric can be: from 0 to `most`."""
    low, high = max(0.0, float(interval.low)), min(most, float(interval.high))
    return {"mean": float(interval.mean), "low": low, "high": high}


def _compare(right: dict[str, np.ndarray], arm: str, control: str) -> dict[str, Any]:
    if arm not in right or control not in right:
        return {"difference": None, "low": None, "high": None, "verdict": "not tested", "seeds": 0, "items": 0}
    found = compare(right[arm], right[control])
    return {
        "difference": float(found.difference),
        "low": float(found.low),
        "high": float(found.high),
        "verdict": found.verdict,
        "seeds": int(found.seeds),
        "items": int(found.items),
    }
