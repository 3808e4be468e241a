"""The report of an embedding run, from its files alone: local against global quality, tables, what each level adds. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.core import records
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import read_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, NOTHING, fixed, plain

LOCAL, GLOBAL = "knn_overlap@10", "spearman"
NAMES = {
    "student": "student",
    "text": "text student",
    "pca": "PCA",
    "random-projection": "random projection",
    "umap": "UMAP",
}
TABLES = {  # title -> key of a figure and head of its column, caption
    "Local: who is near": (
        {
            "knn_overlap@1": "of the nearest 1",
            "knn_overlap@10": "of the nearest 10",
            "knn_overlap@100": "of the nearest 100",
            "recall_10_in_100": "10 in 100",
            "trustworthiness": "trustworthiness",
            "label_1nn": "1-NN label",
        },
        "Share of the teacher's nearest that are among the student's; mean over seeds and range. Chance: {chance}.",
    ),
    "Global: how far the rest is": (
        {
            "spearman": "Spearman, all pairs",
            "row_spearman": "Spearman, row by row",
            "triplet_accuracy": "triplets",
            "cka": "CKA",
            "sts": "pairs, people",
            "poles_right": "poles right",
        },
        "Rank correlation of all distances, and of each row's distances to the others; share of random triplets in the right "
        "order (chance 0.5). Of all pairs of up to 632 rows, of 200 000 drawn ones of more.{teacher}",
    ),
    "Training": (
        {
            "best_epoch": "best epoch",
            "seconds": "seconds to make",
        },
        "Best epoch 0: training made nothing better, and the start (PCA) was kept.",
    ),
}
CHANCES = {
    "knn_chance@1": "of 1",
    "knn_chance@10": "of 10",
    "knn_chance@100": "of 100",
    "trustworthiness_chance": "in trustworthiness",
    "label_chance": "in labels",
}


def embedding_blocks(run: RunFolder) -> list[Block]:
    """Local against global quality, tables of both, what each level adds, training; from the files of a run."""
    summary, about = _read(run.path / records.SUMMARY), _read(run.path / records.RUN)
    arms, teacher = mapping(summary.get("arms")), mapping(summary.get("teacher"))
    if not arms:
        return []
    first = mapping(next(iter(arms.values())))
    words = {
        "chance": ", ".join(f"{fixed(_mean(first[key]), 4)} {word}" for key, word in CHANCES.items() if key in first),
        "teacher": f" The teacher itself, pairs: {fixed(teacher['sts'])}." if number(teacher.get("sts")) else "",
    }
    tables = {title: _table(title, arms, heads, caption.format(**words)) for title, (heads, caption) in TABLES.items()}
    *near_and_far, health = tables.values()
    return [
        *_frontier(arms),
        *near_and_far,
        *_samples(summary),
        *_levels(arms, mapping(about.get("config"))),
        health,
        Facts("The vectors", _facts(about, teacher)),
    ]


def arm_name(arm: str) -> str:
    """What an arm is called on the page.

    Example:
        >>> arm_name("umap"), arm_name("near-0.3"), arm_name("truncation")
        ('UMAP', 'student, neighbor weight 0.3', 'truncation')
    """
    return f"student, neighbor weight {arm[5:]}" if arm.startswith("near-") else NAMES.get(arm, arm)


def _table(title: str, arms: Mapping[str, Any], heads: Mapping[str, str], caption: str) -> Table:
    """Those columns that any arm has; rows are named as in the table of arms, for the same mark and colour."""
    kept = [key for key in heads if any(key in mapping(found) for found in arms.values())]
    rows: list[list[str | Cell]] = [
        [arm_name(arm) if arm.startswith("near-") else arm, *(_cell(mapping(found).get(key)) for key in kept)]
        for arm, found in arms.items()
    ]
    return Table(title, ["", *(heads[key] for key in kept)], rows, caption)


def _cell(value: Any) -> str | Cell:
    """Mean, and below it the range over seeds where there are several."""
    values = [v for v in mapping(value).get("values", []) if number(v) is not None]
    if not values:
        return NOTHING
    spread = f"{fixed(min(values))} to {fixed(max(values))}" if max(values) - min(values) >= 5e-4 else ""
    return Cell(fixed(sum(values) / len(values)), spread)


def _frontier(arms: Mapping[str, Any]) -> list[Block]:
    """Every arm as a point: overlap of neighbours upwards, Spearman to the right; students are filled."""
    both = {arm: (_mean(mapping(found).get(GLOBAL)), _mean(mapping(found).get(LOCAL))) for arm, found in arms.items()}
    points = [(x, y, arm_name(arm)) for arm, (x, y) in both.items() if x is not None and y is not None]
    if not points:
        return []
    axes = "global: Spearman of distances, all pairs", "local: share of the 10 nearest kept"
    drawing = figures.pareto(points, {name for _, _, name in points}, *axes, joined=False)
    caption = "Test rows, mean over seeds; up and right is better. One number cannot order methods that trade one for the other."
    return [Figure("Local against global quality", [(drawing, "")], caption)]


def _samples(summary: Mapping[str, Any]) -> list[Block]:
    """Some test rows and what is nearest to them on both sides, in words."""
    rows: list[tuple[str, str]] = []
    for one in summary.get("samples") or ():
        found = mapping(one)
        teacher, student = (list(map(str, found.get(side) or ())) for side in ("teacher", "student"))
        marked = [f"\u2713{GAP}{text}" if text in teacher else text for text in student]
        rows += [("Row", str(found.get("row", ""))), ("near in the teacher", "\n".join(teacher))]
        rows += [("near in the student", "\n".join(marked))]
    caption = (
        "Test rows, evenly spread, and the three of the other test rows that are nearest by the teacher's vectors and by the "
        "shipped student's codes, one below the other. \u2713: among the teacher's three too."
    )
    return [Facts("Some rows and what is near to them", rows, caption)] if rows else []


def _levels(arms: Mapping[str, Any], config: Mapping[str, Any]) -> list[Block]:
    """Overlap and Spearman at 5, 30, 155 numbers."""
    levels = mapping(config.get("student")).get("levels")
    if not isinstance(levels, list) or len(levels) < 2:
        return []
    wide = [sum(levels[: place + 1]) for place in range(len(levels))]
    ends = ["", *(f"/{width}" for width in wide[1:])]
    rows = [
        [
            arm,
            *(
                " / ".join(fixed(_mean(mapping(arms[arm]).get(f"{key}{end}"))) for key in (LOCAL, GLOBAL))
                for end in ends
            ),
        ]
        for arm in arms
        if arm in ("student", "text")
    ]
    caption = "Overlap of the 10 nearest / Spearman, by the first so many numbers of a code."
    return [Table("What each level adds", ["", *(f"{width} numbers" for width in wide)], rows, caption)]


def _facts(run: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = mapping(run.get("data"))
    checked = []
    if number(teacher.get("score")) is not None and number(teacher.get("chance")) is not None:
        text = (
            f"{teacher.get('metric', 'score')}: {fixed(teacher['score'])} among {plain(teacher.get('rows'), 9)} training rows; of "
            f"noise {fixed(teacher['chance'])}. It is not the PCA of the tables, whose axes are fitted on more rows and which is "
            "scored among the test rows."
        )
        checked = [("Check of the vectors", text)]
    return [
        ("Width", f"{data.get('width', '')} numbers"),
        *checked,
        (
            "Left out",
            f"{plain(data.get('duplicates', 0), 9)} equal to others, {plain(data.get('zero_rows', 0), 9)} zero",
        ),
        ("Fingerprint", str(data.get("sha256", ""))),
    ]


def _mean(value: Any) -> float | None:
    return number(mapping(value).get("mean"))


def _read(path: Path) -> Mapping[str, Any]:
    return mapping(read_json(path)) if path.is_file() else {}
