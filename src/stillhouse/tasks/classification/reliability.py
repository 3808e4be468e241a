"""Predictions of a test split, and how far their confidence can be trusted: a reliability diagram as inline SVG. No torch.

Axes: N test rows, K classes.

Source: DeGroot and Fienberg (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from stillhouse.report import figures
from stillhouse.report.read import Array

BINS = 10
FEW = 10  # answers in a bin, below which its point is hollow


@dataclass(frozen=True)
class Predictions:
    """What a model puts out for the test split: labels (N,) and probabilities (N, K)."""

    labels: Array
    probabilities: Array

    @property
    def choices(self) -> Array:
        """(N,) the most probable class."""
        return self.probabilities.argmax(axis=1)


def reliability(arm: Sequence[Predictions], place: int, teacher: Predictions | None, label: str) -> Markup:
    """How often an arm is right when it is so sure (seeds pooled), the teacher's curve dashed, counts below."""
    with rc_context(figures.STYLE | {"font.size": 9}):
        figure = Figure(figsize=(3.1, 3.5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 100], [0, 100], color="#a9b0b7", linewidth=1)
        if teacher is not None:
            counts, sure, right = bins([teacher])
            many = counts[counts > 0] >= FEW
            upper.plot(sure[many], right[many], color=figures.INK, linewidth=1.2, linestyle=(0, (4, 3)))
        counts, sure, right = bins(arm)
        style = figures.look(place)
        upper.plot(sure, right, color=style["color"], linewidth=1.8)
        many = counts[counts > 0] >= FEW
        upper.plot(sure[many], right[many], linestyle="", markersize=6, **style)
        upper.plot(sure[~many], right[~many], linestyle="", markersize=6, markerfacecolor="white", **style)
        upper.set(xlim=(0, 101), ylim=(0, 103), ylabel="right (%)")
        width = 100 / BINS
        lower.bar(np.arange(BINS) * width + width / 2, counts, width=0.8 * width, color=style["color"])
        figures.logarithmic(lower, subs=(1.0,))
        lower.set_ylim(0.7, max(12, 3 * counts.max()))
        lower.set(xlabel="confidence in the answer (%)", ylabel="answers")
        lower.grid(visible=False, axis="x")
        return figures._svg(figure, f"reliability-{place}", label)


def bins(pooled: Sequence[Predictions]) -> tuple[Array, Array, Array]:
    """Counts of all `BINS` equal bins of confidence, then mean confidence and share right (%) of those that hold any.

    Example:
        >>> one = Predictions(np.array([0, 1]), np.array([[0.95, 0.05], [0.6, 0.4]]))
        >>> counts, sure, right = bins([one])
        >>> counts.tolist(), sure.round(1).tolist(), right.tolist()
        ([0, 0, 0, 0, 0, 0, 1, 0, 0, 1], [60.0, 95.0], [0.0, 100.0])
    """
    sure = np.concatenate([one.probabilities.max(axis=1) for one in pooled]).astype(float)
    right = np.concatenate([one.choices == one.labels for one in pooled])
    place = np.clip((sure * BINS + 1e-9).astype(int), 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    held = counts > 0
    sums = (np.bincount(place, weights=weights, minlength=BINS)[held] for weights in (sure, right))
    mean_sure, mean_right = (100 * total / counts[held] for total in sums)
    return counts, mean_sure, mean_right
