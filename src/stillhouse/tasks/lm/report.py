"""What a report shows of language models beside what all tasks share. Reads files only; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure as Drawing

from stillhouse.core import records
from stillhouse.core.folder import RunFolder, read_arrays
from stillhouse.core.records import read_json
from stillhouse.report import figures
from stillhouse.report.blocks import Block, Facts, Figure, Table
from stillhouse.report.read import mapping
from stillhouse.report.words import NOTHING, fixed, plain

NLL, TEACHER_NLL = "nll.npz", "teacher-nll.npz"
COLUMNS = (("bits_per_byte", 4), ("perplexity", 2), ("density", 3))
HEAD = ("", "bits per byte", "perplexity", "density", "weights", "seconds")


def language_blocks(run: RunFolder) -> Sequence[Block]:
    """All models in one table, what the student writes, loss against position."""
    path = run.path / records.SUMMARY
    summary = mapping(read_json(path)) if path.is_file() else {}
    found: list[Block] = [models_table(summary), *_samples(summary)] if summary else []
    caption = (
        "Test text: nats a token against the tokens of the window seen so far. It falls as far as a memory reaches."
    )
    drawn = _positions(run.path, list(mapping(summary.get("arms"))))
    return [*found, Figure("Loss", [(drawn, caption)])] if drawn else found


def models_table(summary: Mapping[str, Any]) -> Table:
    """The teacher above, the arms, the n-gram below: a row each."""
    teacher, costs = mapping(summary.get("teacher")), mapping(summary.get("costs"))
    rows = []
    if test := mapping(teacher.get("test")):
        cells = [fixed(test.get(name), digits) for name, digits in COLUMNS]
        rows.append(["teacher", *cells, plain(teacher.get("params"), 9), NOTHING])
    for name, arm in mapping(summary.get("arms")).items():
        cells = [fixed(mapping(mapping(arm).get(metric)).get("mean"), digits) for metric, digits in COLUMNS]
        seconds = fixed(mapping(mapping(arm).get("seconds")).get("mean"), 0)
        rows.append([name, *cells, plain(mapping(costs.get(name)).get("params"), 9), seconds])
    scored = f"{plain(summary.get('tokens_scored'), 9)} tokens in windows of {plain(summary.get('window'), 9)}"
    caption = f"The same {scored}. The n-gram is what a network must pass."
    return Table("All models in the same windows", HEAD, rows, caption, folded=True)


def _samples(summary: Mapping[str, Any]) -> list[Block]:
    """What the shipped student writes after some places of the test text, beside the text."""
    words = {"read": "After", "wrote": "it writes", "text": "the text goes on"}
    rows = [
        (said, str(mapping(one).get(name, "")).strip("\n"))
        for one in summary.get("samples") or ()
        for name, said in words.items()
    ]
    caption = "The shipped student at places of the test text, the likeliest token each time."
    return [Facts("What it writes", rows, caption)] if rows else []


def _positions(out: Path, order: Sequence[str]) -> Markup:
    """Mean nats against the place in the window, every model one line, smoothed over growing ranges."""
    files = {"teacher": [out / TEACHER_NLL], **{arm: sorted(out.glob(f"arms/{arm}/seed-*/{NLL}")) for arm in order}}
    there = {name: [file for file in found if file.is_file()] for name, found in files.items()}
    with rc_context(figures.STYLE | {"font.size": 10}):
        figure = Drawing(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for name, found in there.items():
            if found:
                points = grouped(np.mean([read_arrays(file)["positions"] for file in found], 0))
                teacher = {"color": figures.INK, "linestyle": "--"}
                style = figures.look(order.index(name)) if name in order else teacher
                axes.plot(*zip(*points), **style, markersize=4, label=name)
        if not axes.lines:
            return Markup()
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="tokens of the window seen so far", ylabel="nats a token")
        axes.legend(fontsize=9, frameon=False)
        return figures._svg(figure, "positions", "Loss against position in the window")


def grouped(values: Any) -> list[tuple[float, float]]:
    """(middle, mean) over ranges of places that grow by the square root of two.

    Example:
        >>> grouped([4.0, 3.0, 2.0, 1.0])
        [(1.0, 4.0), (2.5, 2.5), (4.0, 1.0)]
    """
    ends = [
        *np.unique([int(2 ** (k / 2)) for k in range(2 * len(values)) if 2 ** (k / 2) <= len(values)]),
        len(values) + 1,
    ]
    return [(float(a + b - 1) / 2, float(np.mean(values[a - 1 : b - 1]))) for a, b in pairwise(ends)]
