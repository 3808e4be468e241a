"""Runs that are scored alike side by side: scores with intervals, paired differences, settings. Reads files; no torch.

Axes: S seeds, N test items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.folder import RunFolder, check_finished, diff_leaves
from stillhouse.core.manifest import changed_files
from stillhouse.core.verdict import compare, format_verdict, mean_interval, seed_interval, untested_reason
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.page import write_blocks
from stillhouse.report.words import NOTHING, direction, format_metric, gain, interval_words, plain, spread_words

if TYPE_CHECKING:
    from stillhouse.core.parts import Metric
    from stillhouse.core.task import Results

MOST_SETTINGS = 20  # in sight; more are folded


def compare_runs(task: Results, folders: Sequence[Path]) -> dict[str, Any]:
    """Every run by the arm that it ships, and against the first by the task's first metric: paired by test item and seed.

    Args:
        task: whose metrics all runs have.
        folders: of finished runs, at least two; the first is what the others are compared with.

    Raises:
        InputError: fewer than two, one twice, or one that is not finished.
    """
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < max(2, len(places)):
        raise InputError(f"expected two different runs or more, got {', '.join(map(str, folders))}")
    depth = next(n for n in range(1, 99) if len({place.parts[-n:] for place in places}) == len(places))
    runs = [_read(task, place, "/".join(place.parts[-depth:])) for place in places]
    rows = [row if row is runs[0] else row | _against(task, runs[0], row) for row in runs]
    settings = different_settings([row["about"].get("config") for row in rows])
    for row in rows:
        del row["about"], row["items"]
    return {"task": task.kind, "metric": task.metrics[0].name, "runs": rows, "settings": settings}


def _read(task: Results, folder: Path, name: str) -> dict[str, Any]:
    """One run: its shipped arm under every seed, with the scores of each test item under `items`: seed -> metric -> (N)."""
    check_finished(folder)
    run, summary = RunFolder(folder), records.read_object(folder / records.SUMMARY, {"shipped": dict[str, Any]})
    arm = str(summary["shipped"].get("arm"))
    seeds = sorted(int(place.name.removeprefix("seed-")) for place in (folder / "arms" / arm).glob("seed-*"))
    items = {n: run.scores(arm, n) for n in seeds if run.finished(arm, n)}
    if not items:
        raise InputError(f"{folder}: expected results of arm {arm!r}, which it ships, got none")
    results = [run.result(arm, seed) for seed in items]
    seconds = [result["seconds"] for result in results if result.get("seconds") is not None]
    return {
        "run": name,
        "arm": arm,
        "seeds": list(items),
        "data": run.run.get("data", {}).get("name"),
        "metrics": {m.name: found for m in task.metrics if (found := _estimate(m, items, results))},
        "params": (summary.get("costs") or {}).get(arm, {}).get("params"),
        "seconds": float(np.mean(seconds)) if seconds else None,
        "changed": list(changed_files(folder)),
        "items": items,
        "about": run.run,
    }


def _estimate(
    metric: Metric, items: Mapping[int, Mapping[str, np.ndarray]], results: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Mean and interval over seeds and items, else over seeds; as in the summary of the run itself."""
    tables = [np.asarray(scores[metric.name], dtype=float) for scores in items.values() if metric.name in scores]
    values = [one["metrics"][metric.name] for one in results if one["metrics"].get(metric.name) is not None]
    if len(tables) == len(items):
        found, values = mean_interval(np.stack(tables)), [float(table.mean()) for table in tables]
    elif values:
        found = seed_interval(values)
    else:
        return None
    ends = (max(metric.low, found.low), min(metric.high, found.high))
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return {"mean": found.mean, "low": low, "high": high, "values": values}


def _against(task: Results, first: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A run minus the first one: the paired interval, or why there is none. Above 0 the run is better, whatever the metric."""
    metric = task.metrics[0]
    seeds = [seed for seed in row["seeds"] if seed in first["seeds"]]
    pairs = [[one["items"][seed].get(metric.name) for seed in seeds] for one in (row, first)]
    sizes = {np.size(values) for values in (*pairs[0], *pairs[1])}
    why = find_test_set_mismatch(*(one["about"].get("data") for one in (first, row)))
    if why is None and not seeds:
        why = "they share no seed"
    if why is None and any(values is None for side in pairs for values in side):
        why = f"one has no {metric.label} of each item"
    if why is None and len(sizes) > 1:
        why = f"other test items ({' and '.join(map(str, sorted(sizes)))})"
    if why is not None:
        return {"difference": None, "why": why}
    sign = -1.0 if metric.lower_is_better else 1.0
    found = compare(*(sign * np.asarray(side, dtype=float) for side in pairs))
    ends = {"difference": found.difference, "low": found.low, "high": found.high, "items": found.items}
    return {**ends, "word": format_verdict(found), "paired_seeds": seeds, "why": ""}


def find_test_set_mismatch(data: Any, other: Any) -> str | None:
    """Why two runs were not tested on the same rows, by the `data` of their `run.json`; None: fingerprints agree.

    Example:
        >>> find_test_set_mismatch({"test_sha256": "ab", "sha256": "1"}, {"test_sha256": "ab", "sha256": "2"}) is None
        True
        >>> find_test_set_mismatch({"sha256": "1"}, {"sha256": "2"})
        'other data (sha256 1 and 2)'
    """
    both = [one if isinstance(one, Mapping) else {} for one in (data, other)]
    for key, words in (("test_sha256", "another test split"), ("sha256", "other data")):
        a, b = (one.get(key) for one in both)
        if a is not None and b is not None:
            return None if a == b else f"{words} (sha256 {str(a)[:12]} and {str(b)[:12]})"
    return "one of them names no fingerprint of its data"


def different_settings(configs: Sequence[Any]) -> dict[str, list[Any]]:
    """Settings whose values are not the same in all configurations: dotted path -> the value of each, None where it has none.

    Example:
        >>> different_settings([{"name": "a", "training": {"epochs": 2, "seed": 0}}, {"training": {"epochs": 9, "seed": 0}}])
        {'training.epochs': [2, 9]}
    """
    found: dict[str, list[Any]] = {}
    for place, config in enumerate(configs[1:], 1):
        for path, first, other in diff_leaves(configs[0], config):
            found.setdefault(path, [first] * len(configs))[place] = other
    return {path: values for path, values in found.items() if path != "name"}


def tables(task: Results, found: Mapping[str, Any]) -> list[Table]:
    """Scores, and settings that differ, as page and terminal show them."""
    rows = found["runs"]
    measures = [metric for metric in task.metrics if any(metric.name in row["metrics"] for row in rows)]
    lines: list[list[str | Cell]] = []
    for row in rows:
        about = Cell(row["run"], f"arm {row['arm']}, {len(row['seeds'])} seeds, {row['data']}")
        estimates = [(measure, row["metrics"].get(measure.name, {})) for measure in measures]
        cells = [
            Cell(format_metric(measure, one.get("mean")), spread_words(measure, one)) for measure, one in estimates
        ]
        lines.append([about, *cells, difference_cell(measures[0], row), plain(row["params"], 9), plain(row["seconds"])])
    head = ["run", *(measure.label for measure in measures), "against the first", "parameters", "training time (s)"]
    caption = "Test split of each run. Below each mean: its 95 % interval; of seeds too few for one, each seed."
    made = [Table("Runs", head, lines, caption)]
    if settings := found["settings"]:
        words = [
            [key, *(NOTHING if v is None else v if isinstance(v, str) else json.dumps(v) for v in values)]
            for key, values in settings.items()
        ]
        heads = ["", *(row["run"] for row in rows)]
        made.append(Table("Settings that differ", heads, words, folded=len(words) > MOST_SETTINGS))
    return made


def difference_cell(measure: Metric, row: Mapping[str, Any]) -> Cell:
    """`+1.20, helps` in the unit of the metric, below it the interval; of too few seeds, whose interval may lie anywhere, none."""
    if "difference" not in row:
        return Cell("the first")
    if row["difference"] is None:
        return Cell(NOTHING, "not the same test items or seeds")
    middle, low, high = (gain(measure, row[key]) for key in ("difference", "low", "high"))
    count = len(row["paired_seeds"])
    if count > 1 and untested_reason(count):
        return Cell(middle, row["word"])
    return Cell(f"{middle}, {row['word']}", f"{low} to {high}{' over test items' * (count == 1)}")


def incomparability_notes(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(run, what cannot be said of it and why)."""
    found = [(row["run"], f"not paired with {rows[0]['run']}: {row['why']}") for row in rows if row.get("why")]
    return found + [(row["run"], line) for row in rows for line in row["changed"]]


def write_comparison(task: Results, found: Mapping[str, Any], path: Path, command: str = "") -> Path:
    """Write one page of a comparison.

    Args:
        task: of all runs.
        found: what `compare_runs` gave.
        path: the HTML file.
        command: that made it.
    """
    rows, first = found["runs"], task.metrics[0]
    order = [row["run"] for row in rows]
    blocks: list[Block] = list(tables(task, found))
    paired = [row for row in rows if row.get("difference") is not None]
    if paired:
        drawn = figures.plot_differences([(row["run"], row, len(row["paired_seeds"])) for row in paired], first)
        words = interval_words(len(row["paired_seeds"]) for row in paired)
        caption = f"Differences from {order[0]}. {direction(first)}. {words}"
        blocks.insert(1, Figure("Side by side", [(drawn, caption)]))
    if reasons := incomparability_notes(rows):
        blocks.append(Facts("What cannot be said", reasons))
    return write_blocks(
        path,
        blocks,
        title=f"{len(rows)} runs compared",
        kicker="stillhouse comparison",
        headline=_headline(first, rows),
        lead=f"{len(rows)} runs, each by the arm that it ships. Differences are against {order[0]}, paired by test item and seed "
        "where both runs were tested on the same items; an interval that holds 0 shows no difference.",
        order=order,
        command=command,
    )


def _headline(metric: Metric, rows: Sequence[Mapping[str, Any]]) -> str:
    """Which run is best; where one has too few seeds, for which no verdict is given anywhere, the scores alone."""
    scored = [row for row in rows if metric.name in row["metrics"]]
    if not scored:
        raise InputError(f"expected {metric.label} in at least one run, got none")
    scored.sort(key=lambda row: row["metrics"][metric.name]["mean"], reverse=not metric.lower_is_better)
    named = [f"{row['run']} {format_metric(metric, row['metrics'][metric.name]['mean'])}" for row in scored]
    listed = f"{metric.label}: {', '.join(named)}"
    if few := untested_reason(min(len(row["seeds"]) for row in scored)):
        return f"{listed[0].upper()}{listed[1:]}; not tested ({few})"
    # differences are against the first run: of the best one, or of all others where that is the best
    against = [row for row in rows[1:] if scored[0]["run"] in (row["run"], rows[0]["run"])]
    if any(row.get("word") == "no difference shown" for row in against):
        return f"No difference is shown. {listed}"
    return f"{scored[0]['run']} has the best {listed}"
