"""What came of a sweep: `sweep.json` and one page with table, Pareto front and the command to go on with. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.machine import COSTS
from stillhouse.core.records import REPORT, write_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.page import write_blocks
from stillhouse.report.words import NOTHING, plain, score_words
from stillhouse.report.words import cost as cost_words
from stillhouse.sweeps.space import space_mapping
from stillhouse.sweeps.study import Plan, command_of, trials_of

SUMMARY = "sweep.json"
MOST_SHOWN = 40  # trials in the table


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of some (score, cost) no other one beats: none has a better score for no more cost, or the same for less.

    Example:
        >>> pareto_front([(0.9, 10.0), (0.8, 10.0), (0.7, 2.0), (0.95, 50.0)])
        [0, 2, 3]
    """
    return [
        place
        for place, (score, cost) in enumerate(points)
        if not any((s >= score and c < cost) or (s > score and c <= cost) for s, c in points)
    ]


def cost_axis(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The kind of cost that the front is drawn against: the first counted one that differs between trials."""
    order = ("macs", "params", "bytes", "state_bytes")
    return next((kind for kind in order if len({trial["cost"].get(kind) for trial in trials}) > 1), None)


def write_sweep(study: Any, plan: Plan, out: Path, task: Any) -> dict[str, Any]:
    """Write `sweep.json` and `report.html` into the sweep's folder; returns what the first holds."""
    trials = list(trials_of(study))
    done = [trial for trial in trials if trial["state"] == "done"]
    best = max(done, key=lambda trial: trial["score"], default=None)
    axis = cost_axis(done)
    priced = [trial for trial in done if axis in trial["cost"]]
    on_front = pareto_front([(t["score"], t["cost"][axis]) for t in priced])
    found = {
        "recipe": plan.recipe,
        "fixed": list(plan.fixed),
        "space": space_mapping(plan.space),
        "objective": task.objective.label,
        "in_percent": task.objective.in_percent,
        "seeds": plan.seeds,
        "wanted": plan.trials,
        "trials": trials,
        "best": None if best is None else best["number"],
        "tied": [t["number"] for t in done if best and math.isclose(t["score"], best["score"], rel_tol=1e-12)],
        "cost": axis,
        "front": [priced[place]["number"] for place in on_front] or ([] if best is None else [best["number"]]),
        "command": None if best is None else command_of(plan, best["settings"], seeds=3, out=Path(out) / "best"),
    }
    write_json(Path(out) / SUMMARY, found)
    write_blocks(
        Path(out) / REPORT,
        _blocks(found, done),
        title=f"sweep of {plan.recipe}",
        kicker=f"stillhouse sweep \N{MIDDLE DOT} {task.title}",
        headline="No trial is finished" if best is None else f"Best {best_words(found)}",
        lead=f"{len(done)} of {plan.trials} trials are done, judged on the validation split. The test split was not scored: the "
        "best of many validation scores is a lucky one, so train it again with other seeds and believe that test score.",
        command=found["command"] or "",
        order=[],
    )
    return found


def best_words(found: Mapping[str, Any]) -> str:
    """The best score, and which trials share it."""
    best = found["trials"][found["best"]]
    tied = f" (tied: trials {', '.join(map(str, found['tied']))})" * (len(found["tied"]) > 1)
    return f"{found['objective']}: {score_words(best['score'], found['in_percent'])}{tied}"


def _blocks(found: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> list[Block]:
    trials, axis, in_percent = found["trials"], found["cost"], found["in_percent"]
    blocks: list[Block] = []
    if done and axis:
        scale, objective = (100.0, f"{found['objective']} (%)") if in_percent else (1.0, found["objective"])
        priced = [trial for trial in done if axis in trial["cost"]]
        points = [(t["cost"][axis], scale * t["score"], str(t["number"])) for t in priced]
        drawing = figures.pareto(points, {str(number) for number in found["front"]}, COSTS[axis], objective)
        blocks.append(Figure("Trials", [(drawing, f"Score against {COSTS[axis]}; filled: on the front.")], ""))
    keys, kinds = list(found["space"]), list(dict.fromkeys(kind for trial in done for kind in trial["cost"]))
    rows: list[list[str | Cell]] = []
    for trial in sorted(trials, key=lambda t: -math.inf if t["score"] is None else t["score"], reverse=True)[
        :MOST_SHOWN
    ]:
        under = "on the front" if trial["number"] in found["front"] else trial["state"] * (trial["state"] != "done")
        settings = [str(trial["settings"].get(key, NOTHING)) for key in keys]
        costs = [cost_words(kind, trial["cost"].get(kind)) for kind in kinds]
        score = score_words(trial["score"], in_percent)
        rows.append([Cell(f"trial {trial['number']}", under), score, *settings, *costs, plain(trial["seconds"])])
    head = ["", found["objective"], *keys, *(COSTS.get(kind, kind) for kind in kinds), "training time (s)"]
    blocks.append(Table("The best trials", head, rows, f"Validation split; all {len(trials)} are in {SUMMARY}."))
    errors = [(f"trial {trial['number']}", trial["error"]) for trial in trials if trial["error"]]
    return [*blocks, *([Facts("Failed", errors[:MOST_SHOWN])] if errors else [])]
