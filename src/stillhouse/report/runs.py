"""Several runs of one task side by side: scores with intervals, paired differences, cost, training time. Reads files; no torch.

Axes: S seeds, N test items.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from stillhouse.core import records
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.costs import COSTS, TIMED
from stillhouse.core.finished import check_finished
from stillhouse.core.folder import RunFolder
from stillhouse.core.manifest import changed_files
from stillhouse.core.records import read_json
from stillhouse.core.verdict import compare, in_words, mean_interval, seed_interval, untested
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.page import differences_text, write_blocks
from stillhouse.report.verdicts import direction, gain, shown, spread_words
from stillhouse.report.words import NOTHING, cost_on_axis, interval_words, plain
from stillhouse.report.words import cost as cost_words

if TYPE_CHECKING:
    from stillhouse.core.task import Light, Metric

MOST_SETTINGS = 20  # in sight; more are folded
MOST_NAMED = 4  # runs in a headline


@dataclass(frozen=True)
class Run:
    """One run: its shipped arm under every seed.

    Attributes:
        name: of its folder, unique among those that are compared.
        path: the folder.
        about: `run.json`.
        summary: `summary.json`.
        arm: that it ships.
        items: seed -> metric -> (N).
        scalars: metric -> (S) of figures that no single item has.
        seconds: (S) of training.
        cost: by kind, of `COSTS`.
        costless: why there is no cost of `COSTS`; None where there is, or was not asked for.
        changed: its files that are not as they were written; nothing that is compared rests on them.
    """

    name: str
    path: Path
    about: Mapping[str, Any]
    summary: Mapping[str, Any]
    arm: str
    items: Mapping[int, Mapping[str, np.ndarray]]
    scalars: Mapping[str, Sequence[float]]
    seconds: Sequence[float]
    cost: Mapping[str, float]
    costless: str | None = None
    changed: Sequence[str] = ()


def cost_kinds(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The kinds of cost that any row has, in words."""
    return {kind: words for kind, words in COSTS.items() if any(kind in row["cost"] for row in rows)}


def read_runs(
    task: Light, folders: Sequence[Path], *, cost: bool = True, each: Sequence[Light] | None = None
) -> list[Run]:
    """The finished runs of some folders.

    Args:
        task: of all.
        folders: at least two.
        cost: also what their students cost (which loads them).
        each: the task of each folder, where some have another one with the same metrics.

    Raises:
        InputError: fewer than two, one twice, or one that is not finished.
    """
    if len(folders) < 2:
        raise InputError(f"expected two runs or more, got {len(folders)}")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError("expected different runs, got one twice")
    names = _names(places)
    tasks = each or [task] * len(places)
    return [_read(one, folder, name, cost) for one, folder, name in zip(tasks, places, names, strict=True)]


def compare_runs(task: Light, runs: Sequence[Run]) -> dict[str, Any]:
    """Every run with its scores, and against the first by the task's first metric: paired where items and seeds are the same.

    Args:
        task: of all.
        runs: the first is what the others are held against.
    """
    rows = []
    for place, run in enumerate(runs):
        row: dict[str, Any] = {
            "run": run.name,
            "kind": run.about.get("kind"),
            "folder": str(run.path),
            "arm": run.arm,
            "seeds": sorted(run.items),
            "metrics": {metric.name: found for metric in task.metrics if (found := _estimate(run, metric))},
            "seconds": float(np.mean(run.seconds)) if len(run.seconds) else None,
            "cost": dict(run.cost),
            "costless": run.costless,
            "changed": list(run.changed),
            "verdict": run.summary.get("verdict"),
            "data": run.about.get("data", {}).get("name"),
        }
        if place:
            row |= against(task, runs[0], run)
        rows.append(row)
    return {
        "task": task.kind,
        "metric": task.metrics[0].name,
        "runs": rows,
        "settings": different_settings([run.about.get("config") for run in runs]),
    }


def different_settings(configs: Sequence[Any]) -> dict[str, list[Any]]:
    """Settings whose values are not the same in all configurations: dotted path -> the value of each, None where it has none.

    The name is left out: every run has its own.

    Example:
        >>> different_settings([{"name": "a", "training": {"epochs": 2, "seed": 0}}, {"training": {"epochs": 9, "seed": 0}}])
        {'training.epochs': [2, 9]}
    """
    flat = [dict(_leaves(config)) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    found = {key: [one.get(key) for one in flat] for key in keys if key != "name"}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of plain data; places in lists are numbers."""
    inner = dict(enumerate(config)) if isinstance(config, list) else config
    if not isinstance(inner, Mapping) or not inner:
        yield path, config
        return
    for key, value in inner.items():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def against(task: Light, first: Run, run: Run) -> dict[str, Any]:
    """A run minus the first one: the paired interval, or why there is none.

    The seeds are those that both have, each beside itself. Above 0 the run is better, whichever way the metric goes.
    """
    metric = task.metrics[0]
    seeds = sorted(set(first.items) & set(run.items))
    why = task.incomparable_reason(first.about, run.about)
    if why is None and not seeds:
        why = "they share no seed"
    tables = []
    for one in (run, first) if why is None else ():
        values = [one.items[seed].get(metric.name) for seed in seeds]
        if any(x is None for x in values):
            why = f"{one.name} has no {metric.label} of each item"
            break
        tables.append(np.stack([np.asarray(x, dtype=np.float64) for x in values]))
    if why is None and tables[0].shape != tables[1].shape:
        why = f"other test items ({tables[0].shape[1]} and {tables[1].shape[1]})"
    if why is not None:
        return {"difference": None, "why": why}
    sign = -1.0 if metric.lower_is_better else 1.0
    found = compare(sign * tables[0], sign * tables[1])
    ends = {"difference": found.difference, "low": found.low, "high": found.high, "items": found.items}
    return {**ends, "word": in_words(found), "paired_seeds": seeds, "why": ""}


def write_comparison(task: Light, found: Mapping[str, Any], path: Path, command: str = "") -> Path:
    """Write one page of a comparison.

    Args:
        task: of all runs.
        found: what `compare_runs` gave.
        path: the HTML file.
        command: that made it.
    """
    rows = found["runs"]
    order = [row["run"] for row in rows]
    return write_blocks(
        path,
        _blocks(task, found),
        title=f"{len(rows)} runs compared",
        kicker="stillhouse comparison"
        + f" \N{MIDDLE DOT} {task.title}" * (len({row.get("kind") for row in rows}) == 1),
        headline=_headline(task.metrics[0], rows),
        lead=f"{len(rows)} runs, each by the arm that it ships. Differences are against {order[0]}, paired by test item and seed "
        "where both runs were tested on the same items; an interval that holds 0 shows no difference.",
        order=order,
        command=command,
    )


def tables(task: Light, found: Mapping[str, Any]) -> list[Table]:
    """Scores, settings that differ and costs, as page and terminal show them."""
    rows, kinds = found["runs"], cost_kinds(found["runs"])
    measures = _measures(task, rows)
    runs: list[list[str | Cell]] = [
        [
            Cell(row["run"], f"arm {row['arm']}, {len(row['seeds'])} seeds, {row['data']}"),
            *(_cell(measure, row["metrics"].get(measure.name)) for measure in measures),
            difference_cell(measures[0], row),
        ]
        for row in rows
    ]
    heads = ["", *(row["run"] for row in rows)]
    caption = "Test split of each run. Below each mean: its 95 % interval; of seeds too few for one, each seed."
    made = [Table("Runs", ["run", *(m.label for m in measures), "against the first"], runs, caption)]
    if settings := found.get("settings", {}):
        differ: list[list[str | Cell]] = [[key, *map(setting_words, values)] for key, values in settings.items()]
        made.append(Table("Settings that differ", heads, differ, folded=len(differ) > MOST_SETTINGS))
    costs: list[list[str | Cell]] = [
        [words, *(cost_words(kind, row["cost"].get(kind)) for row in rows)] for kind, words in kinds.items()
    ]
    costs.append(["training time (s)", *(plain(row["seconds"]) for row in rows)])
    timed = f" {TIMED}" if "ms" in kinds else ""
    caption = f"Of one student of each run.{timed} The time of a training is of the machine on which it ran."
    return [*made, Table("Cost", heads, costs, caption)]


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(run, what cannot be said of it and why)."""
    found = [(row["run"], f"not paired with {rows[0]['run']}: {row['why']}") for row in rows if row.get("why")]
    found += [(row["run"], f"without its cost: {row['costless']}") for row in rows if row.get("costless")]
    return found + [(row["run"], line) for row in rows for line in row.get("changed", ())]


def _measures(task: Light, rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    return [metric for metric in task.metrics if any(metric.name in row["metrics"] for row in rows)]


def _blocks(task: Light, found: Mapping[str, Any]) -> list[Block]:
    """The tables, with drawings before the costs and remarks behind them."""
    rows, (*above, costs) = found["runs"], tables(task, found)
    drawings, reasons = _drawings(_measures(task, rows)[0], rows), remarks(rows)
    return [
        *above,
        *([Figure("Side by side", drawings)] if drawings else []),
        costs,
        *([Facts("What cannot be said", reasons)] if reasons else []),
    ]


def _drawings(first: Metric, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Markup, str]]:
    """Differences from the first run, and the score against the first cost that is not the same of all."""
    drawings = []
    paired = [row for row in rows if row.get("difference") is not None]
    seeds = [len(row["paired_seeds"]) for row in paired]
    ends = [
        (
            row["run"],
            first.scale * row["difference"],
            None if untested(count) else (first.scale * row["low"], first.scale * row["high"]),
        )
        for row, count in zip(paired, seeds)
    ]
    if ends:
        label = f"Differences from {rows[0]['run']}. {differences_text(ends)}."
        drawing = figures.differences(ends, label, unit=first.unit)
        drawings.append((drawing, f"Against {rows[0]['run']}: {direction(first)}. {interval_words(seeds)}"))
    axis = next(
        (k for k in COSTS if len({row["cost"].get(k) for row in rows}) > 1 and all(k in row["cost"] for row in rows)),
        None,
    )
    if axis is not None and all(first.name in row["metrics"] for row in rows):
        per, words = cost_on_axis(axis, COSTS[axis], [row["cost"][axis] for row in rows])
        points = [
            (row["cost"][axis] / per, first.scale * row["metrics"][first.name]["mean"], row["run"]) for row in rows
        ]
        drawing = figures.pareto(points, {row["run"] for row in rows}, words, _with_unit(first), joined=False)
        drawings.append((drawing, f"{first.label} against {COSTS[axis]}."))
    return drawings


def _with_unit(measure: Metric) -> str:
    return f"{measure.label} (%)" if measure.scale == 100 else measure.label


def setting_words(value: Any) -> str:
    """A value of a setting as a recipe has it.

    Example:
        >>> setting_words(None), setting_words(0.003), setting_words(True), setting_words("logits")
        ('–', '0.003', 'true', 'logits')
    """
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value)


def difference_cell(measure: Metric, row: Mapping[str, Any]) -> Cell:
    """`+1.20, helps` in the unit of the metric, below it the interval; of too few seeds, whose interval may lie anywhere, none."""
    if "difference" not in row:
        return Cell("the first")
    if row["difference"] is None:
        return Cell(NOTHING, "not the same test items or seeds")
    middle, low, high = (gain(measure, row[key]) for key in ("difference", "low", "high"))
    count = len(row["paired_seeds"])
    if count > 1 and untested(count):
        return Cell(middle, row["word"])
    return Cell(f"{middle}, {row['word']}", f"{low} to {high}{' over test items' * (count == 1)}")


def _cell(measure: Metric, found: Mapping[str, Any] | None) -> Cell:
    return Cell(NOTHING) if found is None else Cell(shown(measure, found["mean"]), spread_words(measure, found))


def _headline(metric: Metric, rows: Sequence[Mapping[str, Any]]) -> str:
    """Which run is best; where one has too few seeds, for which no verdict is given anywhere, the scores alone."""
    measure, sign = metric, -1.0 if metric.lower_is_better else 1.0
    scored = [row for row in rows if metric.name in row["metrics"]]
    if not scored:
        raise InputError(f"expected {metric.label} in at least one run, got none")
    scored.sort(key=lambda row: sign * row["metrics"][metric.name]["mean"], reverse=True)
    scores = [(row["run"], shown(measure, row["metrics"][metric.name]["mean"])) for row in scored]
    counts = {len(row["seeds"]) for row in scored}
    if few := untested(min(counts)):
        listed = (
            ", ".join(map(" ".join, scores[:MOST_NAMED]))
            + (len(scores) > MOST_NAMED) * f" and {len(scores) - MOST_NAMED} more"
        )
        text = f"{measure.label}: {listed}; {'some ' * (len(counts) > 1)}not tested ({few})"
        return text[0].upper() + text[1:]
    best = scores[0][0]
    # differences are against the first run: of the best one, or of all others where that is the best
    against = [row for row in rows[1:] if best in (row["run"], rows[0]["run"])]
    if any(row.get("word") == "no difference shown" for row in against):
        listed = ", ".join(map(" ".join, scores[:MOST_NAMED]))
        return f"No difference is shown: {listed} ({measure.label})"
    return f"{best} has the best {measure.label}: {scores[0][1]}"


def _estimate(run: Run, metric: Metric) -> dict[str, Any] | None:
    """Mean and interval over seeds and items, else over seeds; as in the summary of the run itself."""
    tables = [items[metric.name] for items in run.items.values() if metric.name in items]
    if tables and len(tables) == len(run.items):
        stacked = np.stack([np.asarray(x, dtype=np.float64) for x in tables])
        found, values = mean_interval(stacked), stacked.mean(1).tolist()
    elif run.scalars.get(metric.name):
        values = list(run.scalars[metric.name])
        found = seed_interval(values)
    else:
        return None
    low, high = max(metric.low, found.low), min(metric.high, found.high)
    ends = [float(end) if np.isfinite(end) else None for end in (low, high)]
    return {"mean": found.mean, "low": ends[0], "high": ends[1], "values": values}


def _read(task: Light, folder: Path, name: str, cost: bool) -> Run:
    check_finished(folder)
    run = RunFolder(folder)
    about, summary = run.run, records.read_object(folder / records.SUMMARY, {"shipped": dict[str, Any]})
    arm = str(summary["shipped"].get("arm"))
    seeds = sorted(int(p.name.removeprefix("seed-")) for p in (folder / "arms" / arm).glob("seed-*"))
    done = [seed for seed in seeds if run.finished(arm, seed)]
    if not done:
        raise InputError(f"{folder}: expected results of arm {arm!r}, which it ships, got none")
    results = [run.result(arm, seed) for seed in done]
    names = dict.fromkeys(key for result in results for key in result["metrics"])
    scalars = {key: [r["metrics"][key] for r in results if r["metrics"].get(key) is not None] for key in names}
    items = {seed: {**run.scores(arm, seed), **task.further_items(run, arm, seed)} for seed in done}
    seconds = [result["seconds"] for result in results if result.get("seconds") is not None]
    counted, why = _cost(task, folder, arm, done[0]) if cost else ({}, None)
    return Run(name, folder, about, summary, arm, items, scalars, seconds, counted, why, changed_files(folder))


def _cost(task: Light, folder: Path, arm: str, seed: int) -> tuple[dict[str, float], str | None]:
    """What the student costs; where it can no longer be loaded, which a table of scores need not fail for, the reason."""
    try:
        return dict(task.cost(records.arm_folder(folder, arm, seed))), None
    except StillhouseError as error:
        return {}, str(error)


def _names(places: Sequence[Path]) -> list[str]:
    """Names of folders, with as many parents as tell them apart."""
    for depth in range(1, 1 + max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def kinds_of(folders: Sequence[Path]) -> list[str]:
    """The task named by the `run.json` of each folder.

    Raises:
        InputError: one is no run folder.
    """
    found = []
    for folder in folders:
        if not (folder / records.RUN).is_file():
            raise InputError(f"{folder} is not a run folder: expected a {records.RUN} in it")
        about = read_json(folder / records.RUN)
        found.append(str(about.get("kind")) if isinstance(about, Mapping) else "")
    return found
