"""The tables of a report as rows of ready text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.report.figures import look
from stillhouse.report.read import Array, RunFolder, mapping, number
from stillhouse.report.words import METRICS, NOTHING, interval, metric, percent, plain, size

ABOUT = {
    "kd": "the student, taught by the teacher",
    "no-kd": "the same student without the teacher",
    "direct": "taught by the teacher itself, without the chain of assistants",
    "clauses-off": "the same student, trained without its clauses",
    "mlp": "the same student with an MLP in place of the clauses",
}
MOST_CLASSES = 30
PALE, DEEP = np.array([255, 255, 255]), np.array([240, 156, 92])


@dataclass(frozen=True)
class Cell:
    """What a table cell shows, a smaller second line, and its background colour."""

    text: str
    under: str = ""
    shade: str = ""


@dataclass(frozen=True)
class Row:
    """A row: the name, a smaller line under it, the place of the arm (-1: no arm), the cells."""

    name: str
    under: str
    place: int
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """Head and rows; `note` is said under the table."""

    head: list[str]
    rows: list[Row]
    note: str = ""


def arm_estimates(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    """By arm and metric: mean, low, high, values; of an unfinished run the means of the seeds that are done."""
    finished = mapping(run.summary.get("arms"))
    if finished:
        return {str(arm): mapping(entry) for arm, entry in finished.items()}
    found: dict[str, Mapping[str, Any]] = {}
    for arm, runs in run.arms.items():
        results = [mapping(seed.result) for seed in runs if seed.result]
        found[arm] = {}
        for name in METRICS:
            given = [number(result.get(name, mapping(result.get("metrics")).get(name))) for result in results]
            values = [value for value in given if value is not None]
            if values:
                found[arm] = {**found[arm], name: {"mean": float(np.mean(values)), "values": values}}
    return found


def arms_table(run: RunFolder, order: list[str]) -> Table | None:
    """Mean and interval of every metric by arm; None where no arm has any."""
    arms = {arm: entry for arm, entry in arm_estimates(run).items() if entry}
    names = [name for name in METRICS if any(mapping(entry.get(name)) for entry in arms.values())]
    if not names:
        return None
    rows = []
    for arm, entry in arms.items():
        cells = [mapping(entry.get(name)) for name in names]
        shown = [Cell(metric(name, cell.get("mean")), interval(name, cell)) for name, cell in zip(names, cells)]
        rows.append(Row(arm, ABOUT.get(arm, ""), order.index(arm), shown))
    return Table(["arm", *(METRICS[name] for name in names)], rows)


def seeds_table(run: RunFolder, order: list[str]) -> Table | None:
    """Accuracy of every arm under every seed; None with no values."""
    arms = {arm: mapping(entry.get("accuracy")).get("values") for arm, entry in arm_estimates(run).items()}
    values = {arm: list(entry) for arm, entry in arms.items() if isinstance(entry, (list, tuple)) and entry}
    if not values:
        return None
    most = max(map(len, values.values()))
    named = run.summary.get("seeds")
    seeds = list(named) if isinstance(named, list) and len(named) == most else list(range(1, most + 1))
    padded = {arm: [*entry, *[None] * (most - len(entry))] for arm, entry in values.items()}
    rows = [Row(arm, "", order.index(arm), [Cell(percent(v, 2)) for v in entry]) for arm, entry in padded.items()]
    return Table(["arm", *(f"seed {seed}" for seed in seeds)], rows)


def agreement_table(run: RunFolder) -> Table | None:
    """Share of test images of each class on which an arm answers as the teacher does, mean over seeds."""
    teacher = run.teacher_predictions
    if teacher is None:
        return None
    labels, names = teacher.labels, run.class_names
    arms = {
        arm: np.mean([said.choices == teacher.choices for said in runs], axis=0)
        for arm, runs in run.predicted.items()
        if all(said.labels.shape == labels.shape for said in runs)
    }
    held = [k for k in range(len(names)) if (labels == k).any()]
    shares = {k: [float(same[labels == k].mean()) for same in arms.values()] for k in held}
    if not held or not arms:
        return None
    floor = min(min(row) for row in shares.values())
    note = ""
    if len(held) > MOST_CLASSES:
        held = sorted(sorted(held, key=lambda k: np.mean(shares[k]))[:MOST_CLASSES])
        note = f"Shown are the {MOST_CLASSES} of {len(shares)} classes with the lowest agreement."
    right = teacher.choices == labels
    rows = [
        Row(
            names[k],
            "",
            -1,
            [*_class_cells(labels == k, right), *(Cell(percent(v), "", _shade(v, floor)) for v in shares[k])],
        )
        for k in held
    ]
    everything = np.ones(len(labels), dtype=bool)
    rows.append(
        Row("all", "", -1, [*_class_cells(everything, right), *(Cell(percent(s.mean())) for s in arms.values())])
    )
    return Table(["class", "test images", "teacher right", *arms], rows, note)


def costs_table(run: RunFolder, order: list[str]) -> Table | None:
    """Size, operations and measured time by arm, and the teacher's parameters."""
    costs = {str(arm): mapping(entry) for arm, entry in mapping(run.summary.get("costs")).items()}
    student = mapping(run.summary.get("student"))
    if not costs and student:
        costs = {"student": student}
    if not costs:
        return None
    rows = []
    for arm, cost in costs.items():
        cells = [Cell(plain(cost.get("params"), 7)), Cell(size(cost.get("bytes_on_disk")))]
        cells += [
            Cell(plain(cost.get("ms_batch_1"))),
            Cell(plain(cost.get("ms_batch_64"))),
            Cell(large(cost.get("flops"))),
        ]
        rows.append(Row(arm, "", order.index(arm) if arm in order else -1, cells))
    if number(run.teacher.get("params")) is not None:
        cells = [Cell(plain(run.teacher.get("params"), 7)), *[Cell(NOTHING)] * 4]
        rows.append(Row(str(run.teacher.get("name", "teacher")), "teacher", -1, cells))
    return Table(["", "parameters", "on disk", "ms, batch of 1", "ms, batch of 64", "operations an image"], rows)


def large(count: Any) -> str:
    """A large count in millions or billions.

    Example:
        >>> large(2_345_678), large(950)
        ('2.35 million', '950')
    """
    found = number(count)
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if found is not None and found >= unit:
            return f"{plain(found / unit)} {name}"
    return plain(count, 6)


def color(place: int) -> str:
    """The colour of the arm at a place."""
    return str(look(place)["color"])


def _class_cells(chosen: Array, right: Array) -> list[Cell]:
    return [Cell(plain(int(chosen.sum()))), Cell(percent(right[chosen].mean()))]


def _shade(share: float, floor: float) -> str:
    """White where all agree, the deeper the orange the more an arm answers differently."""
    depth = (1 - share) / max(1 - floor, 0.02)
    return "#" + "".join(f"{round(v):02x}" for v in PALE + (DEEP - PALE) * depth)
