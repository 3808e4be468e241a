"""The report of an embedding run, from its files alone: local against global quality, tables, what each level adds. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.records import REPORT, read_json, read_records, write_atomically
from stillhouse.report import figures
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MARKS, MINUS, plain

HERE = Path(__file__).parents[2] / "report"
NONE = "\u2013"
LOCAL, GLOBAL = "knn_overlap@10", "spearman"
HEADLINES = {
    "helps": "Better than {control}, and worse in nothing",
    "hurts": "Worse than {control} in part",
    "no difference shown": "No difference from {control} shown",
    "not tested": "Not tested",
}
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
    ("spearman", "Spearman"),
    ("row_spearman", "row by row"),
    ("triplet_accuracy", "triplets"),
    ("pearson", "Pearson"),
    ("stress", "stress (low: good)"),
    ("cka", "CKA"),
    ("sts", "pairs, people"),
    ("poles_right", "poles right"),
)
HEALTH_COLUMNS = (("effective_rank", "effective rank"), ("hubness", "hubness"), ("seconds", "seconds to make"))


def write_embedding_report(out: Path) -> Path:
    """Write `report.html` into a folder of `stillhouse embed distill`.

    Raises:
        InputError: `out` is no such folder, or the page cannot be written.
    """
    run = _read(out / records.RUN)
    if run.get("kind") != "embed":
        raise InputError(f"{out}: expected a folder of `stillhouse embed distill`")
    summary = _read(out / records.SUMMARY)
    arms, verdict = mapping(summary.get("arms")), str(summary.get("verdict", "not tested"))
    compared = [row for row in summary.get("comparisons", []) if isinstance(row, Mapping)]
    control = NAMES.get(str(compared[0].get("control")), "") if compared else "its controls"
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("embedding.html").render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        name=str(mapping(run.get("config")).get("name", out.name)),
        verdict=verdict,
        headline=HEADLINES.get(verdict, HEADLINES["not tested"]).format(control=control),
        mark=MARKS.get(verdict, MARKS["not tested"]),
        sentences=[sentence(row) for row in compared],
        frontier=_frontier(arms),
        local=_table(arms, LOCAL_COLUMNS),
        chance=_chance(arms),
        overall=_table(arms, GLOBAL_COLUMNS),
        ceiling=[(_column(name), _fixed(value)) for name, value in mapping(summary.get("teacher")).items()],
        health=_table(arms, HEALTH_COLUMNS),
        levels=_levels(arms, mapping(run.get("config"))),
        curves=_curves(out),
        facts=_facts(run, summary),
        configuration=yaml.safe_dump(run.get("config"), sort_keys=False, allow_unicode=True, width=100),
        command=str(summary.get("command") or run.get("command") or ""),
    )
    write_atomically(out / REPORT, lambda file: file.write(page.encode(errors="replace")))
    return out / REPORT


def arm_name(arm: str) -> str:
    """What an arm is called on the page.

    Example:
        >>> arm_name("umap"), arm_name("near-0.3")
        ('UMAP', 'student, neighbor weight 0.3')
    """
    return NAMES.get(arm) or f"student, neighbor weight {arm.removeprefix('near-')}"


def sentence(row: Mapping[str, Any]) -> dict[str, str]:
    """One comparison: verdict, mark, lead and detail."""
    verdict = str(row.get("verdict"))
    what = {"near": "who is near", "far": "how far the rest is"}.get(str(row.get("name")), str(row.get("name")))
    lead = f"{arm_name(str(row.get('arm')))} against {arm_name(str(row.get('control')))}, {what}: {verdict}"
    ends = [number(row.get(key)) for key in ("difference", "low", "high")]
    unit = "overlap of the 10 nearest" if row.get("metric") == "knn_overlap" else "Spearman, row by row"
    if ends[0] is None:
        detail = "needs both"
    elif ends[1] is None or ends[2] is None:
        detail = f"{_signed(ends[0])} {unit}; one seed has no interval"
    else:
        detail = f"{_signed(ends[0])} {unit}, 95{GAP}% interval {_signed(ends[1])} to {_signed(ends[2])}"
    return {"verdict": verdict, "mark": MARKS.get(verdict, MARKS["not tested"]), "lead": lead, "detail": detail}


def _table(arms: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Head and rows of those columns that any arm has."""
    kept = [(key, word) for key, word in columns if any(key in mapping(said) for said in arms.values())]
    rows = [[arm_name(arm), *(_cell(mapping(said).get(key)) for key, _ in kept)] for arm, said in arms.items()]
    return {"head": ["", *(word for _, word in kept)], "rows": rows}


def _cell(value: Any) -> str:
    """Mean, and the range over seeds where there are several."""
    found = mapping(value)
    values = [v for v in found.get("values", []) if number(v) is not None]
    if not values:
        return NONE
    mean = sum(values) / len(values)
    return _fixed(mean) + (
        f" ({_fixed(min(values))} to {_fixed(max(values))})" if max(values) - min(values) >= 5e-4 else ""
    )


def _chance(arms: Mapping[str, Any]) -> str:
    said = mapping(next(iter(arms.values()), None))
    found = [
        f"{_fixed(_mean(said[key]), 4)} {words}"
        for key, words in (
            ("knn_chance@1", "of 1"),
            ("knn_chance@10", "of 10"),
            ("knn_chance@100", "of 100"),
            ("trustworthiness_chance", "in trustworthiness"),
            ("label_chance", "in labels"),
        )
        if key in said
    ]
    return ", ".join(found)


def _frontier(arms: Mapping[str, Any]) -> Markup:
    """Every arm as a point: overlap of neighbours upwards, Spearman to the right; students of one run joined."""
    points = {arm: (_mean(said.get(GLOBAL)), _mean(said.get(LOCAL))) for arm, said in arms.items()}
    known = {arm: (x, y) for arm, (x, y) in points.items() if x is not None and y is not None}
    if not known:
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        line = sorted(known[arm] for arm in known if arm == "student" or arm.startswith("near-"))
        axes.plot([x for x, _ in line], [y for _, y in line], color=figures.COLORS[0], linewidth=1.2, zorder=1)
        for arm, (x, y) in known.items():
            own = arm in ("student", "text") or arm.startswith("near-")
            small = arm.startswith("near-")
            color = figures.COLORS[0] if own else figures.INK
            axes.plot([x], [y], "o" if own else "s", color=color, markersize=4 if small else 7, zorder=2)
            label = arm.removeprefix("near-") if small else arm_name(arm)
            axes.annotate(label, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8.5, color=color)
        axes.set(xlabel="global: Spearman of distances", ylabel="local: share of the 10 nearest kept")
        axes.set_ylim(0, 1.15 * max(y for _, y in known.values()) or 1.0)
        axes.margins(x=0.2)
        said = "; ".join(f"{arm_name(arm)} {y:.3f} local, {x:.3f} global" for arm, (x, y) in known.items())
        return figures._svg(figure, "frontier", f"Local against global quality of every method. {said}.")


def _levels(arms: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Overlap and Spearman at 5, 30, 155 numbers."""
    student = mapping(config.get("student")).get("levels")
    if not isinstance(student, list) or len(student) < 2:
        return {}
    widths = [sum(student[: place + 1]) for place in range(len(student))]
    rows = []
    for arm in (arm for arm in arms if arm in ("student", "text")):
        said = mapping(arms[arm])
        cells = [(LOCAL, GLOBAL) if place == 0 else (f"{LOCAL}/{w}", f"{GLOBAL}/{w}") for place, w in enumerate(widths)]
        rows.append(
            [arm_name(arm), *(f"{_fixed(_mean(said.get(a)))} / {_fixed(_mean(said.get(b)))}" for a, b in cells)]
        )
    return {"head": ["", *(f"{width} numbers" for width in widths)], "rows": rows}


def _curves(out: Path) -> Markup:
    """Validation overlap and Spearman against the epoch, one line a training of the student."""
    runs = sorted((out / "arms" / "student").glob("seed-*"))
    lines = [[r for r in read_records(run / records.RECORDS) if r.get("split") == "validation"] for run in runs]
    if not any(lines):
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Figure(figsize=(5, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for place, (key, word) in enumerate(((GLOBAL, "Spearman"), (LOCAL, "overlap of the 10 nearest"))):
            for count, line in enumerate(lines):
                found = [(r["epoch"], number(r.get(key))) for r in line if number(r.get(key)) is not None]
                axes.plot(*zip(*found), color=figures.COLORS[place], linewidth=1.3, label=word if count == 0 else None)
        axes.set(xlabel="epoch (of epoch_steps steps)", ylabel="on validation rows")
        axes.legend(fontsize=9, frameon=False)
        return figures._svg(figure, "curves", "Validation Spearman and overlap of neighbours against the epoch")


def _facts(run: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, machine = mapping(run.get("data")), mapping(run.get("machine"))
    sizes = ", ".join(f"{plain(count, 9)} {name}" for name, count in mapping(data.get("sizes")).items())
    left = f"{plain(data.get('duplicates', 0), 9)} equal to others, {plain(data.get('zero_rows', 0), 9)} zero"
    seeds = summary.get("seeds", [])
    return [
        ("Data", f"{data.get('name', '')}: {sizes} vectors of {data.get('width', '')} numbers"),
        ("Left out", left),
        ("Fingerprint", str(data.get("sha256", ""))),
        ("Seeds", ", ".join(map(str, seeds)) + ("" if len(seeds) >= 3 else ": a verdict wants 3")),
        ("Machine", f"{machine.get('cpu', '')}, {machine.get('cores', '')} cores"),
        ("Versions", ", ".join(f"{name}{GAP}{text}" for name, text in mapping(run.get("versions")).items())),
    ]


def _column(name: str) -> str:
    return dict((*LOCAL_COLUMNS, *GLOBAL_COLUMNS)).get(name, name)


def _mean(value: Any) -> float | None:
    return number(mapping(value).get("mean"))


def _fixed(value: Any, digits: int = 3) -> str:
    found = number(value)
    return NONE if found is None else f"{found:.{digits}f}".replace("-", MINUS)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)


def _read(path: Path) -> Mapping[str, Any]:
    return mapping(read_json(path)) if path.is_file() else {}
