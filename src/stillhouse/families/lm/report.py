"""The report of a language-model run: verdict, table, loss against position, training curves, all from its folder. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.records import REPORT, read_json, read_records, write_atomically
from stillhouse.report import figures
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, HEADLINES, MARKS, MINUS, NOTHING, plain

HERE = Path(__file__).parents[2] / "report"
HEAD = (
    "", "bits per byte", "perplexity", "the same, sliding windows", "density", "weights", "tokens trained", "seconds",
)  # fmt: skip
LEADS = {
    "teacher": ("The teacher helps", "The teacher hurts", "No difference shown for the teacher"),
    "teacher, dense": (
        "The teacher helps the dense student",
        "The teacher hurts the dense student",
        "No difference shown",
    ),
    "spikes": ("Spikes help", "Spikes cost", "No cost of spikes shown"),
    "recurrence": ("The matrix memory helps", "The matrix memory hurts", "No difference shown for the recurrence"),
    "n-gram": ("Better than the n-gram", "Worse than the n-gram", "No difference from the n-gram shown"),
}


def write_lm_report(out: Path) -> Path:
    """Write `report.html` into a folder of `stillhouse lm distill`.

    Raises:
        InputError: `out` is no such folder, it is not finished, or the page cannot be written.
    """
    run = mapping(read_json(out / records.RUN)) if (out / records.RUN).is_file() else {}
    if run.get("kind") != "lm-distill" or not (out / records.SUMMARY).is_file():
        raise InputError(f"{out}: expected a finished folder of `stillhouse lm distill`")
    summary = mapping(read_json(out / records.SUMMARY))
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    verdict = str(summary.get("verdict", "not tested"))
    page = environment.get_template("language.html").render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        name=str(mapping(run.get("config")).get("name", out.name)),
        verdict=verdict,
        headline=HEADLINES.get(verdict, "The teacher was not tested"),
        mark=MARKS.get(verdict, MARKS["not tested"]),
        sentences=[sentence(entry) for entry in summary.get("comparisons", [])],
        gap=_gap(summary.get("gap")),
        head=HEAD,
        rows=table_rows(summary),
        windows=f"{summary.get('window')} tokens",
        stride=plain(summary.get("stride")),
        scored=plain(summary.get("tokens_scored"), 9),
        positions=_positions(summary),
        curves=_curves(out),
        facts=_facts(summary),
        configuration=yaml.safe_dump(run.get("config"), sort_keys=False, allow_unicode=True, width=100),
        command=str(summary.get("command") or ""),
    )
    write_atomically(out / REPORT, lambda file: file.write(page.encode(errors="replace")))
    return out / REPORT


def sentence(entry: Mapping[str, Any]) -> dict[str, str]:
    """One comparison in words.

    Example:
        >>> said = sentence({"name": "spikes", "arm": "kd", "control": "dense", "difference": -0.1, "low": -0.12, "high": -0.08,
        ...                  "verdict": "hurts", "seeds": 3, "items": 512})
        >>> said["lead"], said["detail"].replace(GAP, " ").replace(MINUS, "-")
        ('Spikes cost', 'kd against dense saves -0.1000 bits per byte (95 % interval -0.1200 to -0.0800), 3 seeds, 512 windows')
    """
    verdict = str(entry.get("verdict", "not tested"))
    helps, hurts, neither = LEADS.get(str(entry.get("name")), LEADS["teacher"])
    lead = {"helps": helps, "hurts": hurts, "no difference shown": neither}.get(verdict, "Not tested")
    ends = [number(entry.get(key)) for key in ("difference", "low", "high")]
    detail = f"{entry.get('arm')} against {entry.get('control')}: one of the two has too few seeds"
    if None not in ends:
        shown = [f"{end:+.4f}".replace("-", MINUS) for end in ends if end is not None]
        detail = (
            f"{entry.get('arm')} against {entry.get('control')} saves {shown[0]} bits per byte (95{GAP}% interval {shown[1]} to "
            f"{shown[2]}), {plain(entry.get('seeds', 0))} seeds, {plain(entry.get('items', 0))} windows"
        )
    return {"verdict": verdict, "mark": MARKS.get(verdict, MARKS["not tested"]), "lead": lead, "detail": detail}


def table_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Teacher, arms, n-gram: a row each, as `HEAD` names the columns."""
    rows = []
    references = mapping(summary.get("references"))
    if "teacher" in references:
        rows.append(_reference_row("teacher", mapping(references["teacher"])))
    for name, arm in mapping(summary.get("arms")).items():
        bits, wide = mapping(arm.get("bits_per_byte")), mapping(arm.get("sliding_perplexity"))
        rows.append(
            [
                name,
                f"{_fixed(bits.get('mean'), 4)}{_spread(bits)}",
                _fixed(mapping(arm.get("perplexity")).get("mean"), 2),
                _fixed(wide.get("mean"), 2),
                _fixed(mapping(arm.get("density")).get("mean"), 3),
                plain(arm.get("params"), 9),
                plain(arm.get("tokens_trained"), 9),
                _fixed(mapping(arm.get("seconds")).get("mean"), 0),
            ]
        )
    if "ngram" in references:
        found = mapping(references["ngram"])
        rows.append(_reference_row(f"{found.get('order')}-gram", found))
    return rows


def _reference_row(name: str, about: Mapping[str, Any]) -> list[str]:
    found = mapping(about.get("metrics"))
    scores = [
        _fixed(found.get("bits_per_byte"), 4),
        _fixed(found.get("perplexity"), 2),
        _fixed(found.get("sliding_perplexity"), 2),
    ]
    return [name, *scores, NOTHING, plain(about.get("params"), 9), NOTHING, NOTHING]


def _spread(values: Mapping[str, Any]) -> str:
    low, high = number(values.get("low")), number(values.get("high"))
    return "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"


def _gap(value: Any) -> str:
    found = number(value)
    if found is None:
        return ""
    shown = f"{100 * found:+.1f}".replace("-", MINUS)
    return f"With spikes and ternary weights {shown}{GAP}% bits per byte against the dense student of equal size."


def _positions(summary: Mapping[str, Any]) -> Markup:
    """Mean nats against the place in the window, every model one line, smoothed over doubling ranges."""
    lines = {name: mapping(about).get("positions") for name, about in mapping(summary.get("references")).items()}
    lines |= {name: mapping(arm).get("positions") for name, arm in mapping(summary.get("arms")).items()}
    drawn = {name: grouped(values) for name, values in lines.items() if values}
    if not drawn:
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, points) in enumerate(drawn.items()):
            axes.plot([x for x, _ in points], [y for _, y in points], **figures.look(place), markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set(xlabel="tokens of the window seen so far", ylabel="nats a token")
        axes.legend(fontsize=9, frameon=False)
        return figures._svg(figure, "positions", "Loss against position in the window")


def grouped(values: Any) -> list[tuple[float, float]]:
    """(middle, mean) over ranges that grow by the square root of two.

    Example:
        >>> grouped([4.0, 3.0, 2.0, 1.0])
        [(1.0, 4.0), (2.0, 3.0), (3.0, 2.0), (4.0, 1.0)]
    """
    found, start, width = [], 1, 1.0
    while start <= len(values):
        end = min(len(values), start + max(1, int(width)) - 1)
        part = values[start - 1 : end]
        found.append(((start + end) / 2, sum(part) / len(part)))
        start = end + 1
        width = max(1.0, start * 0.4)
    return found


def _curves(out: Path) -> Markup:
    """Validation nats against the epoch, one line a training."""
    runs = sorted((out / "arms").glob("*/seed-*")) if (out / "arms").is_dir() else []
    arms = list(dict.fromkeys(run.parent.name for run in runs))
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for run in runs:
            line = [
                (r["step"], r["nll"]) for r in read_records(run / records.RECORDS) if r.get("split") == "validation"
            ]
            color = figures.look(arms.index(run.parent.name))["color"]
            label = run.parent.name if run.name == "seed-0" else None
            axes.plot([x for x, _ in line], [y for _, y in line], color=color, label=label)
        axes.set(xlabel="optimizer steps", ylabel="validation, nats a token")
        axes.legend(fontsize=9, frameon=False)
        return figures._svg(figure, "curves", "Validation loss in nats a token against optimizer steps")


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = mapping(summary.get("data"))
    sizes = ", ".join(f"{plain(count, 9)} {name}" for name, count in mapping(data.get("sizes")).items())
    return [
        ("Text", f"{data.get('name', '')}: {sizes} tokens"),
        ("Tokenizer", f"{data.get('tokenizer', '')}, {plain(data.get('vocabulary'), 6)} tokens"),
        ("Machine", str(mapping(summary.get("machine")).get("cpu", ""))),
        ("Seeds", plain(len(summary.get("seeds", [])))),
    ]


def _fixed(value: Any, digits: int) -> str:
    found = number(value)
    return NOTHING if found is None else f"{found:,.{digits}f}".replace("-", MINUS)
