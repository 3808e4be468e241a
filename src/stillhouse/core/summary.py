"""From the folders of all arms and seeds to a summary: means with intervals, comparisons, the verdict. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core import records
from stillhouse.core.folder import RunFolder
from stillhouse.core.machine import machine, versions
from stillhouse.core.parts import Arm, Contrast, Metric, contrasts_of
from stillhouse.core.records import read_object
from stillhouse.core.task import Task
from stillhouse.core.verdict import compare, mean_interval, overall_verdict, seed_interval

Table = dict[str, NDArray[np.float64]]  # metric -> (S, N)
TEACHER_SCORES = "teacher_scores.npz"


def summarize(
    task: Task[Any, Any], arms: Sequence[Arm], folder: RunFolder, shipped: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare what the arms left behind; the first contrast is the verdict."""
    metrics = {metric.name: metric for metric in task.metrics}
    tables = {arm.name: _items(folder, arm) for arm in arms}
    results = {arm.name: [folder.result(arm.name, seed) for seed in range(arm.seeds)] for arm in arms}
    comparisons = [
        _compared(contrast, tables, metrics[contrast.metric]) for contrast in contrasts_of(arms, task.metrics)
    ]
    costs = {arm: found[0]["cost"] for arm, found in results.items() if "cost" in found[0]}
    return {
        "kind": task.kind,
        "verdict": overall_verdict(comparisons, {name: metric.label for name, metric in metrics.items()}),
        "comparisons": comparisons,
        "metrics": [_described(metric) for metric in task.metrics],
        "arms": {arm.name: _figures(tables[arm.name], results[arm.name], metrics) for arm in arms},
        "about": {arm.name: arm.about for arm in arms},
        "plain": {arm.name: arm.plain for arm in arms if arm.plain},
        "teacher": read_object(folder.path / records.TEACHER, {})
        if (folder.path / records.TEACHER).is_file()
        else None,
        "shipped": dict(shipped),
        "student": costs.get(str(shipped["arm"])),
        "costs": costs,
        "versions": versions(),
        "machine": machine(),
        "seeds": list(range(max(arm.seeds for arm in arms))),
    }


def _items(folder: RunFolder, arm: Arm) -> Table:
    """(S, N) of every metric: all seeds of an arm on all test items."""
    rows: dict[str, list[np.ndarray]] = {}
    for seed in range(arm.seeds):
        for name, values in folder.scores(arm.name, seed).items():
            rows.setdefault(name, []).append(np.asarray(values, dtype=np.float64))
    return {name: np.stack(values) for name, values in rows.items()}


def _compared(contrast: Contrast, tables: Mapping[str, Table], metric: Metric) -> dict[str, Any]:
    """One comparison; above 0 the arm is better, whichever way the metric goes."""
    sign = -1.0 if metric.lower_is_better else 1.0
    arm, control = (tables.get(name, {}).get(metric.name) for name in (contrast.arm, contrast.control))
    if arm is not None and control is not None:
        kept = _witnesses(tables[contrast.arm], tables[contrast.control])
        arm, control = _as_many_seeds(sign * arm, sign * control)
        kept = [seed for seed in kept if seed < len(arm)]
        arm, control = arm[kept], control[kept]
    ends = {name: _number(value) for name, value in asdict(compare(arm, control)).items()}
    named = {"name": contrast.name, "arm": contrast.arm, "control": contrast.control, "metric": metric.name}
    return {**named, "unit": metric.unit, **ends}


def _witnesses(arm: Table, control: Table) -> list[int]:
    """Seeds that are no copies of an earlier one: two trainings that ended in the same student are one witness.

    A student that keeps its start (the principal axes) is the same under every seed, and would else count as many times as it
    was trained. Students are the same where all their items are equal in every metric.
    """
    many = (
        arm if len(next(iter(arm.values()))) > 1 else control
    )  # what is fitted once stands beside all seeds of the other
    seen: set[bytes] = set()
    kept = []
    for seed in range(min(len(table) for table in many.values())):
        items = b"".join(table[seed].tobytes() for table in many.values())
        if items not in seen:
            seen.add(items)
            kept.append(seed)
    return kept


def _as_many_seeds(
    arm: NDArray[np.float64], control: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is made once (an n-gram, PCA) is the same beside every seed of the other side; else the seeds that both have."""
    if len(arm) == 1 or len(control) == 1:
        most = max(len(arm), len(control))
        return np.broadcast_to(arm, (most, arm.shape[1])), np.broadcast_to(control, (most, control.shape[1]))
    both = min(len(arm), len(control))
    return arm[:both], control[:both]


def _figures(table: Table, results: list[dict[str, Any]], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """mean, low, high, values of every metric: over seeds and items where items have one, else over seeds."""
    found: dict[str, Any] = {}
    for name, values in table.items():
        found[name] = _estimate(mean_interval(values), metrics.get(name), values.mean(1).tolist())
    scalars = {name: [result["metrics"].get(name) for result in results] for name in results[0]["metrics"]}
    for name in ("seconds", "best_epoch"):
        scalars[name] = [result.get(name) for result in results]
    for name, given in scalars.items():
        numbers = [float(value) for value in given if value is not None]
        if name not in found and numbers:
            found[name] = _estimate(seed_interval(numbers), metrics.get(name), numbers)
    return found


def _estimate(interval: Any, metric: Metric | None, values: list[float]) -> dict[str, Any]:
    """A mean with its interval, cut at what the metric can be, and the value of each seed."""
    least, most = (-np.inf, np.inf) if metric is None else (metric.low, metric.high)
    low, high = (float(np.clip(end, least, most)) for end in (interval.low, interval.high))  # NaN stays NaN
    return {"mean": float(interval.mean), "low": _number(low), "high": _number(high), "values": values}


def _described(metric: Metric) -> dict[str, Any]:
    return {name: _number(value) for name, value in asdict(metric).items()}


def _number(value: Any) -> Any:
    """NaN and infinities as None, so that any reader of JSON takes it."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
