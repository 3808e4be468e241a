"""The report of an embedding run, from its files alone: local against global quality, tables, what each level adds. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas

from stillhouse.core import records
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import read_json, read_records
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Cell, Facts, Figure, Table
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, fixed, plain

NONE = "\u2013"
CHECK = (
    "{metric}: {score:.3f} among {rows:,} training rows; of noise {chance:.3f}. It is not the PCA of the tables, whose axes are "
    "fitted on more rows and which is scored among the test rows."
)
LOCAL, GLOBAL = "knn_overlap@10", "spearman"
NAMES = {
    "student": "student",
    "text": "text student",
    "pca": "PCA",
    "pca-whitened": "PCA, whitened",
    "random-projection": "random projection",
    "truncation": "truncation",
    "autoencoder": "autoencoder",
    "umap": "UMAP",
    "pacmap": "PaCMAP",
    "localmap": "LocalMAP",
}
LOCAL_COLUMNS = (
    ("knn_overlap@1", "of the nearest 1"),
    ("knn_overlap@10", "of the nearest 10"),
    ("knn_overlap@100", "of the nearest 100"),
    ("recall_10_in_100", "10 in 100"),
    ("trustworthiness", "trustworthiness"),
    ("continuity", "continuity"),
    ("label_1nn", "1-NN label"),
)
GLOBAL_COLUMNS = (
    ("spearman", "Spearman, all pairs"),
    ("row_spearman", "Spearman, row by row"),
    ("triplet_accuracy", "triplets"),
    ("pearson", "Pearson"),
    ("stress", "stress (low: good)"),
    ("cka", "CKA"),
    ("sts", "pairs, people"),
    ("poles_right", "poles right"),
)
HEALTH_COLUMNS = (
    ("effective_rank", "effective rank"),
    ("hubness", "hubness"),
    ("best_epoch", "best epoch"),
    ("seconds", "seconds to make"),
)


def embedding_blocks(run: RunFolder) -> list[Block]:
    """Local against global quality, tables of both, what each level adds, health; from the files of a run."""
    path = run.path
    summary, config = _read(path / records.SUMMARY), mapping(_read(path / records.RUN).get("config"))
    arms = mapping(summary.get("arms"))
    if not arms:
        return []
    chart = (
        "Test rows, mean over seeds; up and right is better. Round: students (small ones differ in neighbor weight); square: "
        "controls. One number cannot order methods that trade one for the other."
    )
    ceiling = mapping(summary.get("teacher"))
    known = [(word, fixed(ceiling.get(key))) for key, word in GLOBAL_COLUMNS if number(ceiling.get(key)) is not None]
    teacher = "".join(f" The teacher itself, {word}: {value}." for word, value in known)
    near = f"Share of the teacher's nearest that are among the student's; mean over seeds and range. Chance: {_chance(arms)}."
    far = (
        "Rank correlation of all distances, and of each row's distances to the others; share of random triplets in the "
        f"right order (chance 0.5). Of all pairs of up to 632 rows, of 200 000 drawn ones of more.{teacher}"
    )
    health = (
        "Effective rank: how many axes are in use. Hubness: skewness of how often a row is among the nearest of others; "
        "large: a few rows are near to all."
        + (
            " Best epoch 0: training made nothing better, and the start (PCA) was kept."
            if any("best_epoch" in mapping(arm) for arm in arms.values())
            else ""
        )
    )
    added = "Overlap of the 10 nearest / Spearman, by the first so many numbers of a code."
    found: list[Block] = [Figure("Local against global quality", [(_frontier(arms), "")], chart)]
    found += [
        _table("Local: who is near", arms, LOCAL_COLUMNS, near),
        _table("Global: how far the rest is", arms, GLOBAL_COLUMNS, far),
        *_samples(summary),
        *_levels(arms, config, added),
        _table("Health and time", arms, HEALTH_COLUMNS, health),
        Figure("Learning curves of the student", [(_curves(path), "")]),
        Facts("The vectors", _facts(_read(path / records.RUN), summary.get("teacher"))),
    ]
    return found


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


def arm_name(arm: str) -> str:
    """What an arm is called on the page.

    Example:
        >>> arm_name("umap"), arm_name("near-0.3")
        ('UMAP', 'student, neighbor weight 0.3')
    """
    return NAMES.get(arm) or f"student, neighbor weight {arm.removeprefix('near-')}"


def _table(title: str, arms: Mapping[str, Any], columns: Sequence[tuple[str, str]], caption: str) -> Table:
    """Those columns that any arm has."""
    kept = [(key, word) for key, word in columns if any(key in mapping(found) for found in arms.values())]
    rows: list[list[str | Cell]] = [
        [row_name(arm), *(_cell(mapping(found).get(key)) for key, _ in kept)] for arm, found in arms.items()
    ]
    return Table(title, ["", *(word for _, word in kept)], rows, caption)


def row_name(arm: str) -> str:
    """As the table of arms names it, so that it has the same mark and colour there and here."""
    return arm_name(arm) if arm.startswith("near-") else arm


def _cell(value: Any) -> str | Cell:
    """Mean, and below it the range over seeds where there are several."""
    found = mapping(value)
    values = [v for v in found.get("values", []) if number(v) is not None]
    if not values:
        return NONE
    mean = sum(values) / len(values)
    if max(values) - min(values) < 5e-4:
        return fixed(mean)
    return Cell(fixed(mean), f"{fixed(min(values))} to {fixed(max(values))}")


def _chance(arms: Mapping[str, Any]) -> str:
    first = mapping(next(iter(arms.values()), None))
    found = [
        f"{fixed(_mean(first[key]), 4)} {words}"
        for key, words in (
            ("knn_chance@1", "of 1"),
            ("knn_chance@10", "of 10"),
            ("knn_chance@100", "of 100"),
            ("trustworthiness_chance", "in trustworthiness"),
            ("label_chance", "in labels"),
        )
        if key in first
    ]
    return ", ".join(found)


def _frontier(arms: Mapping[str, Any]) -> Markup:
    """Every arm as a point: overlap of neighbours upwards, Spearman to the right; students of one run joined."""
    points = {arm: (_mean(found.get(GLOBAL)), _mean(found.get(LOCAL))) for arm, found in arms.items()}
    known = {arm: (x, y) for arm, (x, y) in points.items() if x is not None and y is not None}
    if not known:
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Canvas(figsize=(6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        line = sorted(known[arm] for arm in known if arm == "student" or arm.startswith("near-"))
        axes.plot([x for x, _ in line], [y for _, y in line], color=figures.COLORS[0], linewidth=1.2, zorder=1)
        for arm, (x, y) in known.items():
            learned = arm in ("student", "text") or arm.startswith("near-")
            small = arm.startswith("near-")
            color = figures.COLORS[0] if learned else figures.INK
            axes.plot([x], [y], "o" if learned else "s", color=color, markersize=4 if small else 7, zorder=2)
        axes.set(xlabel="global: Spearman of distances, all pairs", ylabel="local: share of the 10 nearest kept")
        axes.set_ylim(0, 1.15 * max(y for _, y in known.values()) or 1.0)
        axes.margins(x=0.2)
        for arm, at in known.items():
            name = arm.removeprefix("near-") if arm.startswith("near-") else arm_name(arm)
            axes.annotate(name, at, xytext=(6, 4), textcoords="offset points", fontsize=8.5)
        found = "; ".join(f"{arm_name(arm)} {y:.3f} local, {x:.3f} global" for arm, (x, y) in known.items())
        return figures._svg(figure, "frontier", f"Local against global quality of every method. {found}.")


def _levels(arms: Mapping[str, Any], config: Mapping[str, Any], caption: str) -> list[Block]:
    """Overlap and Spearman at 5, 30, 155 numbers."""
    student = mapping(config.get("student")).get("levels")
    if not isinstance(student, list) or len(student) < 2:
        return []
    widths = [sum(student[: place + 1]) for place in range(len(student))]
    rows = []
    for arm in (arm for arm in arms if arm in ("student", "text")):
        found = mapping(arms[arm])
        cells = [(LOCAL, GLOBAL) if place == 0 else (f"{LOCAL}/{w}", f"{GLOBAL}/{w}") for place, w in enumerate(widths)]
        rows.append(
            [arm_name(arm), *(f"{fixed(_mean(found.get(a)))} / {fixed(_mean(found.get(b)))}" for a, b in cells)]
        )
    return [Table("What each level adds", ["", *(f"{width} numbers" for width in widths)], rows, caption)]


def _curves(out: Path) -> Markup:
    """Validation overlap and Spearman against the epoch, one line a training of the student."""
    runs = sorted((out / "arms" / "student").glob("seed-*"))
    lines = [[r for r in read_records(run / records.RECORDS) if r.get("split") == "validation"] for run in runs]
    if not any(lines):
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Canvas(figsize=(5, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for place, (key, word) in enumerate(((GLOBAL, "Spearman"), (LOCAL, "overlap of the 10 nearest"))):
            for count, line in enumerate(lines):
                found = [(r["epoch"], number(r.get(key))) for r in line if number(r.get(key)) is not None]
                axes.plot(*zip(*found), color=figures.COLORS[place], linewidth=1.3, label=word if count == 0 else None)
        axes.set(xlabel="validation (one each lesson.epoch_steps steps)", ylabel="on validation rows")
        axes.legend(fontsize=9, frameon=False)
        return figures._svg(figure, "curves", "Validation Spearman and overlap of neighbours against the epoch")


def _facts(run: Mapping[str, Any], teacher: Any) -> list[tuple[str, str]]:
    data = mapping(run.get("data"))
    left = f"{plain(data.get('duplicates', 0), 9)} equal to others, {plain(data.get('zero_rows', 0), 9)} zero"
    teacher = mapping(teacher)
    score, chance = number(teacher.get("score")), number(teacher.get("chance"))
    checked = []
    if score is not None and chance is not None:
        known = {"metric": teacher.get("metric", "score"), "rows": number(teacher.get("rows")) or 0}
        checked = [("Check of the vectors", CHECK.format(score=score, chance=chance, **known))]
    return [
        ("Width", f"{data.get('width', '')} numbers"),
        *checked,
        ("Left out", left),
        ("Fingerprint", str(data.get("sha256", ""))),
        ("Versions", ", ".join(f"{name}{GAP}{text}" for name, text in mapping(run.get("versions")).items())),
    ]


def _mean(value: Any) -> float | None:
    return number(mapping(value).get("mean"))


def _read(path: Path) -> Mapping[str, Any]:
    return mapping(read_json(path)) if path.is_file() else {}
