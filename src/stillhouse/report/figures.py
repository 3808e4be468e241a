"""The figures of a report as inline SVG: one panel each, so that a narrow screen stacks them. No pyplot, no state.

Colours are those of Okabe and Ito, distinguished by people with any of the common colour-vision deficiencies; every arm
has a marker of its own as well. Letters stay text: the page's font draws them, and they can be searched.

Source: Okabe and Ito (2008), Color Universal Design.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stillhouse.core.parts import Metric
from stillhouse.core.verdict import untested_reason
from stillhouse.report.read import Records, number
from stillhouse.report.words import direction

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
SHAPES = ("\u25cf", "\u25a0", "\u25b2", "\u25c6", "\u25bc", "\u271a")
INK, FAINT, GRID = "#33393f", "#6b737b", "#e4e7ea"
PLAIN = FuncFormatter(lambda value, _: f"{value:,.10g}")
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "text.color": INK,
}


def arm_style(place: int) -> dict[str, Any]:
    """Colour and marker of the arm at a place in the order of arms."""
    return {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)]}


def color(place: int) -> str:
    """The colour of the arm at a place."""
    return str(arm_style(place)["color"])


def plot_differences(rows: Sequence[tuple[str, Mapping[str, Any], int]], metric: Metric) -> Markup:
    """Differences with their intervals against the line of no difference.

    One without an interval, as of fewer than three seeds, is a hollow grey dot, wherever it lies: nothing is shown by it.

    Args:
        rows: (name, comparison of `summary.json`, seeds).
        metric: of all.
    """
    drawn = [_scaled(*row, metric) for row in rows]
    with _panel(0.7 + 0.36 * len(drawn)) as axes:
        for place, (_, middle, low, high, few) in enumerate(drawn):
            color = FAINT if few or low <= 0 <= high else COLORS[0] if low > 0 else COLORS[1]
            if not few:
                axes.plot([low, high], [place, place], color=color, linewidth=2.5, solid_capstyle="round")
            axes.plot([middle], [place], "o", color=color, fillstyle="none" if few else "full", markersize=7)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(drawn)), [row[0] for row in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        # centred it would be cut where long names leave little room
        axes.set_xlabel(f"difference{f' in {metric.unit}' * bool(metric.unit)} (right of 0: better)", loc="right")
        axes.margins(x=0.08)
        ends = [
            "too few seeds for an interval" if few else f"{low:+.4g} to {high:+.4g}" for *_, low, high, few in drawn
        ]
        told = "; ".join(f"{row[0]}: {row[1]:+.4g}, {end}" for row, end in zip(drawn, ends))
        return _svg(axes.figure, "differences", f"Differences in {metric.label}. {direction(metric)}. {told}.")


def _scaled(name: str, row: Mapping[str, Any], seeds: int, metric: Metric) -> tuple[str, float, float, float, bool]:
    """(name, difference, low, high) in the unit of the metric, and whether its seeds are too few for an interval."""
    middle, low, high = (metric.scale * float(row[key]) for key in ("difference", "low", "high"))
    return name, middle, low, high, bool(untested_reason(seeds))


def curves(arms: Mapping[str, list[Records]], split: str, key: str, words: str) -> Markup:
    """A record's value against the epoch: a thin line a seed, a thick one for the mean over epochs that all seeds have reached.

    Empty where no record has the value. `words` are those of the axis.
    """
    found = {arm: [line for run in runs if (line := series(run.get(split, []), key))] for arm, runs in arms.items()}
    scale = 100.0 if key == "accuracy" else 1.0
    values = [scale * value for lines in found.values() for line in lines for value in line.values()]
    if not values:
        return Markup()
    with _panel() as axes:
        for place, lines in enumerate(found.values()):
            color, marker = arm_style(place).values()
            for line in lines:
                axes.plot(list(line), [scale * v for v in line.values()], color=color, linewidth=0.8, alpha=0.4)
            if shared := sorted(set.intersection(*map(set, lines))) if lines else []:
                means = [scale * float(np.mean([line[epoch] for line in lines])) for epoch in shared]
                axes.plot(shared, means, color=color, linewidth=2)
                axes.plot(shared[-1:], means[-1:], color=color, marker=marker, markersize=6)
        if key == "accuracy":  # the first steep part would squeeze what matters into a line
            bottom, top = float(np.quantile(values, 0.12)), max(values)
            pad = 0.06 * max(top - bottom, 0.5)
            axes.set_ylim(max(0.0, bottom - pad), min(100.4, top + pad))
        elif min(values) > 0 and max(values) > 10 * min(values):
            _logarithmic(axes, "y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(words)
        return _svg(axes.figure, f"curves-{split}-{key}", f"{words} against epoch.")


def pareto(
    points: Sequence[tuple[float, float, str]], chosen: set[str], cost: str, score: str, *, joined: bool = True
) -> Markup:
    """Score against cost of some (cost, score, name); those of the front are filled, joined by steps and named."""
    best = sorted(point for point in points if point[2] in chosen)
    label = f"{score} against {cost}. " + "; ".join(f"{name}: {y:.4g} at {x:.4g}" for x, y, name in best)
    with _panel() as axes:
        rest = [point for point in points if point[2] not in chosen]
        axes.plot([x for x, _, _ in rest], [y for _, y, _ in rest], "o", color=FAINT, fillstyle="none", markersize=6)
        if joined:
            axes.step([x for x, _, _ in best], [y for _, y, _ in best], where="post", color=COLORS[0], linewidth=1.2)
        axes.plot([x for x, _, _ in best], [y for _, y, _ in best], "o", color=COLORS[0], markersize=7)
        for x, y, name in best:
            axes.annotate(name, (x, y), xytext=(0, 7), textcoords="offset points", ha="center")
        costs = [x for x, _, _ in points]
        if min(costs) > 0 and max(costs) > 10 * min(costs):
            _logarithmic(axes, "x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.xaxis.set_major_formatter(PLAIN)
        axes.margins(0.12)
        axes.set_xlabel(cost)
        axes.set_ylabel(score)
        return _svg(axes.figure, "pareto", label)


def gain_curve(points: Sequence[tuple[int, float, float, float]], x: str, y: str) -> Markup:
    """A gain with its interval against a count, on a logarithmic axis, with a line at none.

    Args:
        points: (count, gain, low, high).
        x, y: what the axes show, with units.
    """
    counts = [count for count, *_ in points]
    with _panel() as axes:
        axes.axhline(0, color=FAINT, linewidth=1)
        for count, _, low, high in points:
            axes.plot([count, count], [low, high], color=COLORS[0], linewidth=1.4)
        axes.plot(counts, [gain for _, gain, _, _ in points], "o", color=COLORS[0], markersize=6)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        label = "; ".join(f"{count:,} {x}: {gain:+.1f}" for count, gain, _, _ in points)
        return _svg(axes.figure, "gain", f"{y}: {label}.")


def series(lines: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """Epoch -> mean of the value over that epoch; what is no number is left out.

    Training steps carry the epochs done before them (0.25: a quarter into the first), validations the epochs done.
    """
    sums: dict[int, list[float]] = defaultdict(list)
    for record in lines:
        value = number(record.get(key))
        if value is not None:
            epoch = float(record["epoch"])
            sums[int(epoch) + 1 if record.get("split") == "train" else round(epoch)].append(value)
    return {epoch: float(np.mean(sums[epoch])) for epoch in sorted(sums)}


def _logarithmic(axes: Axes, name: str) -> None:
    """A logarithmic axis with plain numbers: powers of ten would need the mathematical text that is switched off."""
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PLAIN)


@contextmanager
def _panel(height: float = 3.3) -> Iterator[Axes]:
    """The axes of one panel, in the style of the page."""
    with rc_context(STYLE | {"font.size": 10}):
        yield Figure(figsize=(5, height), layout="constrained").add_subplot()


def _svg(figure: Any, name: str, label: str) -> Markup:
    """The figure as an <svg> that scales with its column, without ids that could meet another figure's."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg role="img" aria-label="{escape(label)}" {box[0] if box else ""}>'
    return Markup(re.sub(r"\n\s*", "\n", head + text[text.index(">") + 1 :]).strip())
