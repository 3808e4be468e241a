"""What a report shows of language models beside what all tasks share. Reads files only; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter

from stillhouse.core import records
from stillhouse.core.folder import RunFolder, read_arrays
from stillhouse.core.records import read_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Facts, Figure, Table, Tiles
from stillhouse.report.read import mapping, number
from stillhouse.report.words import GAP, MINUS, NOTHING, fixed, plain

NLL, TEACHER_NLL = "nll.npz", "teacher-nll.npz"
COLUMNS = (("bits_per_byte", 4), ("perplexity", 2), ("sliding_perplexity", 2), ("density", 3))


def language_blocks(run: RunFolder) -> Sequence[Block]:
    """All models in one table, how they were scored, what the student writes, loss against position."""
    path = run.path / records.SUMMARY
    summary = mapping(read_json(path)) if path.is_file() else {}
    order = list(dict.fromkeys([*mapping(summary.get("arms")), *_arms(run.path)]))  # as the page gives colours
    found: list[Block] = [_tiles(summary), models_table(summary), _how(summary)] if summary else []
    drawn = _positions(run.path, order)
    caption = (
        "Test text: nats a token against the tokens of the window seen so far. It falls as far as a memory reaches."
    )
    found += _samples(summary)
    found += [Figure("Loss", [(drawn, caption)])] if drawn else []
    return found


def _tiles(summary: Mapping[str, Any]) -> Tiles:
    """The few numbers that a reader looks for first: the student beside its teacher and the n-gram."""
    shipped, arms = str(mapping(summary.get("shipped")).get("arm", "")), mapping(summary.get("arms"))
    teacher, about = mapping(summary.get("teacher")), mapping(summary.get("about"))
    scores = [
        (f"the student ({shipped})", mapping(mapping(arms.get(shipped)).get("bits_per_byte")).get("mean")),
        ("the teacher", mapping(teacher.get("test")).get("bits_per_byte")),
        (
            f"a {str(about.get('ngram', 'n-gram')).split(' ')[0]} of the same text",
            mapping(mapping(arms.get("ngram")).get("bits_per_byte")).get("mean"),
        ),
    ]
    found = [(fixed(value, 3), f"bits per byte: {name}", "") for name, value in scores if number(value) is not None]
    weights = number(mapping(mapping(summary.get("costs")).get(shipped)).get("params"))
    if weights is not None:
        found.append((plain(weights, 9), "weights in the student", ""))
    return Tiles(found)


def _samples(summary: Mapping[str, Any]) -> list[Block]:
    """What the shipped student writes after some places of the test text, beside the text."""
    words = {"read": "After", "wrote": "it writes", "text": "the text goes on"}
    rows = [
        (words[name], str(mapping(one).get(name, "")).strip("\n"))
        for one in summary.get("samples") or ()
        for name in ("read", "wrote", "text")
    ]
    caption = "The shipped student at places of the test text, the likeliest token each time."
    return [Facts("What it writes", rows, caption)] if rows else []


def models_table(summary: Mapping[str, Any]) -> Table:
    """The teacher above, the arms, the n-gram below: a row each, as `head` names the columns."""
    teacher, costs = mapping(summary.get("teacher")), mapping(summary.get("costs"))
    rows = []
    if mapping(teacher.get("test")):
        cells = [fixed(mapping(teacher["test"]).get(name), digits) for name, digits in COLUMNS]
        rows.append(["teacher", *cells, plain(teacher.get("params"), 9), NOTHING])
    for name, arm in mapping(summary.get("arms")).items():
        cells = [fixed(mapping(mapping(arm).get(metric)).get("mean"), digits) for metric, digits in COLUMNS]
        seconds = fixed(mapping(mapping(arm).get("seconds")).get("mean"), 0)
        rows.append([name, *cells, plain(mapping(costs.get(name)).get("params"), 9), seconds])
    caption = "The same tokens in the same windows. The n-gram is what a network must pass."
    return Table("All models in the same windows", head(summary), rows, caption, folded=True)


def head(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of `models_table`; sliding windows name their tokens where those are not the ones beside them.

    Example:
        >>> head({"tokens_scored": 16384, "tokens_scored_sliding": 16384})[2:4]
        ('perplexity', 'perplexity, sliding windows')
        >>> head({"tokens_scored": 16384, "tokens_scored_sliding": 4096})[2:4]
        ('perplexity', 'perplexity, sliding windows, of the first 4,096 tokens alone')
    """
    tokens, sliding = (number(summary.get(name)) for name in ("tokens_scored", "tokens_scored_sliding"))
    part = "other tokens" if sliding is None else f"the first {sliding:,.0f} tokens alone"
    which = "" if sliding is not None and sliding == tokens else f", of {part}"
    return ("", "bits per byte", "perplexity", f"perplexity, sliding windows{which}", "density", "weights", "seconds")


def _how(summary: Mapping[str, Any]) -> Facts:
    data, gap = mapping(summary.get("data")), number(summary.get("gap"))
    entries = [
        ("Windows", f"{plain(summary.get('window'), 9)} tokens; sliding by {plain(summary.get('stride'), 9)}"),
        ("Tokens scored", plain(summary.get("tokens_scored"), 9)),
        ("Tokenizer", f"{data.get('tokenizer', '')}, {plain(data.get('vocabulary'), 6)} tokens"),
    ]
    if gap is not None:
        shown = f"{100 * gap:+.1f}".replace("-", MINUS)
        entries.append(
            (
                "Cost of spikes and ternary weights",
                f"{shown}{GAP}% bits per byte against the dense student of equal size",
            )
        )
    return Facts("How the models were scored", entries)


def _positions(out: Path, order: Sequence[str]) -> Markup:
    """Mean nats against the place in the window, every model one line, smoothed over growing ranges."""
    lines = {"teacher": [out / TEACHER_NLL]} if (out / TEACHER_NLL).is_file() else {}
    for arm, folders in _arms(out).items():
        if files := [folder / NLL for folder in folders if (folder / NLL).is_file()]:
            lines[arm] = files
    drawn = {name: grouped(np.mean([read_arrays(f)["positions"] for f in files], 0)) for name, files in lines.items()}
    if not drawn:
        return Markup()
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Drawing(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for name, points in drawn.items():
            style: dict[str, Any] = {"color": figures.INK, "linestyle": "--"}
            if name in order:
                style = figures.look(order.index(name))
            axes.plot([x for x, _ in points], [y for _, y in points], **style, markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
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
        found.append(((start + end) / 2, float(sum(part) / len(part))))
        start = end + 1
        width = max(1.0, start * 0.4)
    return found


def _arms(out: Path) -> dict[str, list[Path]]:
    """The folders of all seeds, by arm."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(out.glob("arms/*/seed-*")):
        found.setdefault(folder.parent.name, []).append(folder)
    return found
