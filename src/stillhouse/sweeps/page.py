"""What came of a sweep: `sweep.json` and one page with table, Pareto front and the command to go on with. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.costs import COSTS, TIMED
from stillhouse.core.records import REPORT, write_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table, Tiles
from stillhouse.report.page import write_blocks
from stillhouse.report.words import NOTHING, cost_on_axis, plain, score_words
from stillhouse.report.words import cost as cost_words
from stillhouse.sweeps.space import to_mapping as space_mapping
from stillhouse.sweeps.study import Plan, real_trials
from stillhouse.sweeps.work import command_of

SUMMARY = "sweep.json"
WORDS = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
MOST_SHOWN, MOST_NAMED = 40, 6  # trials in the table; of those that share the best score


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of some (score, cost) no other one beats: none has a better score for no more cost, or the same for less.

    Example:
        >>> front([(0.9, 10.0), (0.8, 10.0), (0.7, 2.0), (0.95, 50.0)])
        [0, 2, 3]
    """
    return [
        place
        for place, (score, cost) in enumerate(points)
        if not any((s >= score and c < cost) or (s > score and c <= cost) for s, c in points)
    ]


def cost_axis(trials: Sequence[Mapping[str, Any]], wanted: str | None = None) -> str | None:
    """The kind of cost that the front is drawn against: the wanted one, else the first counted one that differs between trials.

    Raises:
        InputError: no trial has a cost of the wanted kind.
    """
    known = list(dict.fromkeys(kind for trial in trials for kind in trial["cost"]))
    if not trials:
        return None
    if wanted is not None:
        if wanted not in known:
            raise InputError(f"--cost {wanted}: expected one of {', '.join(known) or 'none'}")
        return wanted
    order = [*("macs", "params", "bytes", "state_bytes", "energy_pj", "ms")]
    for kind in (kind for kind in order if kind in known):
        if kind != "ms" and len({trial["cost"].get(kind) for trial in trials}) > 1:
            return kind
    return None


def summarize(study: Any, plan: Plan, task: Any, cost: str | None = None) -> dict[str, Any]:
    """All trials as plain data, the best one, and the front."""
    trials = [_trial(trial) for trial in real_trials(study)]
    done = [trial for trial in trials if trial["state"] == "done"]
    axis = cost_axis(done, cost)
    best = max(done, key=lambda trial: trial["score"]) if done else None
    priced = [trial for trial in done if axis in trial["cost"]] if axis else []
    on_front = [priced[place]["number"] for place in front([(t["score"], t["cost"][axis]) for t in priced])]
    return {
        "recipe": plan.recipe,
        "fixed": list(plan.fixed),
        "space": space_mapping(plan.space),
        "objective": task.validated,
        "in_percent": task.validated_in_percent,
        "seeds": plan.seeds,
        "wanted": plan.trials,
        "trials": trials,
        "best": None if best is None else best["number"],
        "cost": axis,
        "front": on_front if axis else [best["number"]] if best else [],
        "command": None if best is None else command_of(plan, best["settings"], seeds=3),
    }


def write_sweep(study: Any, plan: Plan, out: Path, task: Any, cost: str | None = None) -> dict[str, Any]:
    """Write `sweep.json` and `report.html` into the sweep's folder; returns what the first holds."""
    found = summarize(study, plan, task, cost)
    if found["command"] is not None:
        best = next(trial for trial in found["trials"] if trial["number"] == found["best"])
        found["command"] = command_of(plan, best["settings"], seeds=3, out=Path(out) / "best")
    write_json(Path(out) / SUMMARY, found)
    write_blocks(
        Path(out) / REPORT,
        _blocks(found),
        title=f"sweep of {plan.recipe}",
        kicker=f"stillhouse sweep \N{MIDDLE DOT} {task.title}",
        headline=_headline(found),
        lead=_lead(found),
        command=found["command"] or "",
        order=[],
    )
    return found


def _trial(trial: Any) -> dict[str, Any]:
    kept = trial.user_attrs
    return {
        "number": trial.number,
        "state": WORDS[trial.state.name],
        "score": trial.value if trial.state.name == "COMPLETE" else None,
        "scores": kept.get("scores", []),
        "settings": kept.get("settings", {}),
        "epochs": {str(epoch): score for epoch, score in sorted(trial.intermediate_values.items())},
        "cost": kept.get("cost", {}),
        "seconds": kept.get("seconds"),
        "folder": kept.get("folder"),
        "error": kept.get("error"),
    }


def _headline(found: Mapping[str, Any]) -> str:
    if found["best"] is None:
        return "No trial is finished"
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"])
    tied = tied_words(found)
    return f"Best {found['objective']}: {score_words(best['score'], found['in_percent'])}" + f" ({tied})" * bool(tied)


def tied_words(found: Mapping[str, Any]) -> str:
    """Which trials share the best score, of which `best` is only the first; empty where there is one.

    Example:
        >>> trials = [{"number": n, "score": score} for n, score in enumerate((0.5, 0.7, None, 0.7))]
        >>> tied_words({"best": 1, "trials": trials}), tied_words({"best": 0, "trials": trials[:1]})
        ('tied: trials 1, 3', '')
    """
    scores = {trial["number"]: trial["score"] for trial in found["trials"] if trial["score"] is not None}
    tied = [n for n, score in scores.items() if math.isclose(score, scores[found["best"]], rel_tol=1e-12)]
    more = f" and {len(tied) - MOST_NAMED} more" * (len(tied) > MOST_NAMED)
    return f"tied: trials {', '.join(map(str, tied[:MOST_NAMED]))}{more}" * (len(tied) > 1)


def _lead(found: Mapping[str, Any]) -> str:
    count = {word: sum(trial["state"] == word for trial in found["trials"]) for word in WORDS.values()}
    parts = [f"{number} {word}" for word, number in count.items() if number]
    return (
        f"{len(found['trials'])} of {found['wanted']} trials ({', '.join(parts) or 'none yet'}), "
        f"{found['seeds']} seed{'s' * (found['seeds'] != 1)} each, judged on the validation split. The test split was not scored: "
        "the best of many validation scores is a lucky one, so train it again with other seeds and believe that test score."
    )


def _blocks(found: Mapping[str, Any]) -> list[Block]:
    trials, axis, in_percent = found["trials"], found["cost"], found["in_percent"]
    scale, objective = (100.0, f"{found['objective']} (%)") if in_percent else (1.0, found["objective"])
    done = [trial for trial in trials if trial["state"] == "done"]
    blocks: list[Block] = []
    if done:
        best = next(trial for trial in trials if trial["number"] == found["best"])
        entries = [
            (score_words(best["score"], in_percent), found["objective"], tied_words(found) or f"trial {best['number']}")
        ]
        entries += [(str(value), key, "best") for key, value in best["settings"].items()]
        blocks.append(Tiles(entries[:6]))
    drawings = []
    if done and axis:
        priced = [trial for trial in done if axis in trial["cost"]]
        per, words = cost_on_axis(axis, COSTS.get(axis, axis), [trial["cost"][axis] for trial in priced])
        points = [(t["cost"][axis] / per, scale * t["score"], str(t["number"])) for t in priced]
        chosen = {str(number) for number in found["front"]}
        drawing = figures.pareto(points, chosen, words, objective)
        drawings.append((drawing, f"Score against {COSTS.get(axis, axis)}; filled: no trial is better for as little."))
    if drawings:
        caption = "" if axis or not done else "All trials cost the same, so the front is the best trial alone."
        blocks.append(Figure("Trials", drawings, caption))
    order = sorted(trials, key=lambda t: -math.inf if t["score"] is None else t["score"], reverse=True)
    keys = list(found["space"])
    kinds = list(dict.fromkeys(kind for trial in done for kind in trial["cost"]))
    rows: list[list[str | Cell]] = []
    for trial in order[:MOST_SHOWN]:
        score = score_words(trial["score"], in_percent)
        under = "on the front" if trial["number"] in found["front"] else trial["state"] * (trial["state"] != "done")
        settings = [str(trial["settings"].get(key, NOTHING)) for key in keys]
        costs = [cost_words(kind, trial["cost"].get(kind)) for kind in kinds]
        rows.append([Cell(f"trial {trial['number']}", under), score, *settings, *costs, plain(trial["seconds"])])
    head = ["", found["objective"], *keys, *(COSTS.get(kind, kind) for kind in kinds), "training time (s)"]
    more = f" The best {MOST_SHOWN} of {len(trials)}; all are in {SUMMARY}." if len(trials) > MOST_SHOWN else ""
    timed = f" {TIMED}" if "ms" in kinds else ""
    blocks.append(Table("All trials, best first", head, rows, f"Validation split.{more}{timed}"))
    errors = [(f"trial {trial['number']}", trial["error"]) for trial in trials if trial["error"]]
    return [*blocks, *([Facts("Failed", errors[:MOST_SHOWN])] if errors else [])]
