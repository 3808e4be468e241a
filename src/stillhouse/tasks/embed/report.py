"""The report of an embedding run, from its files alone: local against global quality, and tables of both. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.core.folder import RunFolder
from stillhouse.core.records import SUMMARY, read_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Figure, Table
from stillhouse.report.read import mapping
from stillhouse.report.words import NOTHING, fixed

TABLES = {  # title -> key of a figure and head of its column
    "Local: who is near": {
        "knn_overlap@1": "of the nearest 1",
        "knn_overlap@10": "of the nearest 10",
        "knn_overlap@100": "of the nearest 100",
        "recall_10_in_100": "10 in 100",
        "trustworthiness": "trustworthiness",
        "label_1nn": "1-NN label",
    },
    "Global: how far the rest is": {
        "spearman": "Spearman, all pairs",
        "row_spearman": "Spearman, row by row",
        "triplet_accuracy": "triplets (chance 0.5)",
        "cka": "CKA",
        "poles_right": "poles right",
    },
}
LOCAL, GLOBAL = "knn_overlap@10", "spearman"


def embedding_blocks(run: RunFolder) -> list[Block]:
    """Local against global quality, and tables of both, at every level of a code; from the files of a run."""
    summary = mapping(read_json(run.path / SUMMARY)) if (run.path / SUMMARY).is_file() else {}
    arms = {arm: mapping(found) for arm, found in mapping(summary.get("arms")).items()}
    if not arms:
        return []
    first = next(iter(arms.values()))
    chance = ", ".join(f"{fixed(first[key]['mean'], 4)} ({key})" for key in first if "_chance" in key)
    captions = (
        f"Share of the teacher's nearest that are among the student's; mean over seeds and range. Chance: {chance}.",
        "Rank correlation of distances; share of random triplets in the right order.",
    )
    points = [
        (found[GLOBAL]["mean"], found[LOCAL]["mean"], arm)
        for arm, found in arms.items()
        if {GLOBAL, LOCAL} <= set(found)
    ]
    axes = "global: Spearman of distances, all pairs", "local: share of the 10 nearest kept"
    drawing = figures.pareto(points, {name for _, _, name in points}, *axes, joined=False)
    caption = "Test rows, mean over seeds; up and right is better. One number cannot order methods that trade one for the other."
    return [
        Figure("Local against global quality", [(drawing, "")], caption),
        *(_table(title, arms, heads, words) for (title, heads), words in zip(TABLES.items(), captions)),
    ]


def _table(title: str, arms: Mapping[str, Any], heads: Mapping[str, str], caption: str) -> Table:
    """Those columns that any arm has, `spearman/30` and the like too: a figure of the first 30 numbers of a code."""
    known = dict.fromkeys(key for found in arms.values() for key in found)
    kept = [key for head in heads for key in known if key.split("/")[0] == head]
    words = {key: heads[key.split("/")[0]] + (f", {key.split('/')[1]} numbers" if "/" in key else "") for key in kept}
    rows = [
        [arm, *(_cell(found[key]["values"]) if key in found else NOTHING for key in kept)]
        for arm, found in arms.items()
    ]
    return Table(title, ["", *words.values()], rows, caption)


def _cell(values: Sequence[float]) -> Cell:
    """Mean, and below it the range over seeds where there are several."""
    spread = f"{fixed(min(values))} to {fixed(max(values))}" if max(values) - min(values) >= 5e-4 else ""
    return Cell(fixed(sum(values) / len(values)), spread)
