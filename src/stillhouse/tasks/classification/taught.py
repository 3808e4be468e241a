"""What the teacher taught: the test rows that it changed, or the likeliest reason why no difference is shown. No torch.

Axes: S seeds, N test rows, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from stillhouse.core.verdict import verdict_of
from stillhouse.report.blocks import Block, Figure, Table
from stillhouse.report.read import Array, mapping, number
from stillhouse.report.words import percent
from stillhouse.tasks.classification.reliability import Predictions

FILE = "taught.json"
CONFIDENCES = (0.0, 0.5, 0.8, 0.95, 1.0)  # of the teacher's answer: ends of the rows of a table
MOST_SEEDS = 50  # beyond which more seeds are no advice
SURE, KNOWN = 0.95, 0.99  # a teacher that only repeats labels: mean confidence and accuracy on training rows
NEAR = 0.01  # a teacher hardly above the control; answers hardly nearer to the teacher's
NOISE = 0.03  # share of labels that a sure teacher contradicts


def changed(taught: Sequence[Predictions], control: Sequence[Predictions]) -> tuple[Array, Array]:
    """(N,) in which share of the seeds the teacher put a row right, and in which share wrong.

    Example:
        >>> right, wrong = (Predictions(np.array([0]), np.array([p])) for p in ([0.9, 0.1], [0.2, 0.8]))
        >>> changed([right, right], [wrong, right])
        (array([0.5]), array([0.]))
    """
    now, before = (np.stack([one.choices == one.labels for one in runs]) for runs in (taught, control))
    return (now & ~before).mean(0), (before & ~now).mean(0)


def changed_tables(
    taught: Sequence[Predictions], control: Sequence[Predictions], teacher: Predictions | None, names: Sequence[str]
) -> list[Block]:
    """Test rows that were put right and wrong, by class and by how sure the teacher is of its answer."""
    gained, lost = changed(taught, control)
    labels = taught[0].labels
    head = ["test rows", "wrong to right", "right to wrong", "difference"]
    by_class = [(names[k], labels == k) for k in np.unique(labels)]
    by_class.sort(key=lambda row: -float((gained - lost)[row[1]].sum()))
    tables: list[Block] = [
        Table(
            "What the teacher changed",
            ["class", *head],
            [_row(name, chosen, gained, lost) for name, chosen in [*by_class, ("all", np.ones(len(labels), bool))]],
            "Mean number of test rows over seeds, beside the same student without the teacher.",
        )
    ]
    if teacher is not None:
        sure = teacher.probabilities.max(1)
        rows = []
        for low, high in itertools.pairwise(CONFIDENCES):
            chosen = (sure > low) & (sure <= high)
            if chosen.any():
                right = percent(float((teacher.choices == labels)[chosen].mean()))
                name = f"{percent(low, 0)} to {percent(high, 0)}"
                rows.append([name, right, *_row(name, chosen, gained, lost)[1:]])
        tables.append(
            Table("Where the teacher was sure", ["its confidence", "teacher right", *head], rows, "The same test rows.")
        )
    return tables


def _row(name: str, chosen: Array, gained: Array, lost: Array) -> list[str]:
    up, down = float(gained[chosen].sum()), float(lost[chosen].sum())
    return [name, str(int(chosen.sum())), f"{up:.1f}", f"{down:.1f}", f"{up - down:+.1f}"]


def example_blocks(found: Sequence[Mapping[str, Any]], seeds: int) -> list[Block]:
    """The examples on a page."""
    drawings = []
    for one in found:
        drawing = Markup("<p>{}</p>").format(one.get("text", f"test row {one['row']}"))
        if "png" in one:
            drawing = Markup('<img src="data:image/png;base64,{}" alt="test row {}" width="96">').format(
                one["png"], one["row"]
            )
        drawings.append((drawing, f"{one['class']}; without the teacher {one['without']} ({one['seeds']} of {seeds})"))
    caption = "Test rows that are right with the teacher and wrong without it, under the most seeds."
    return [Figure("Put right by the teacher", drawings, caption)] if drawings else []


@dataclass(frozen=True)
class Reason:
    """Why no difference may be shown: what was measured, whether it is so, and what to change then."""

    name: str
    measured: str
    holds: bool
    advice: str


def reasons(row: Mapping[str, Any], figures: Mapping[str, float | None]) -> list[Reason]:
    """The reasons that were measured, the likeliest of those that hold first.

    Args:
        row: the comparison with the control as in `summary.json`.
        figures: test accuracies of `teacher`, `taught`, `control`, `linear`; `agreement` and `control_agreement` with the teacher;
            of the teacher on labelled training rows `known` (accuracy), `confidence` (mean), `contradicts` (share of labels that
            it is sure are others); `labelled` (share of the training rows). What is not known is None or not there.

    Example:
        A gain of 1 point, plus or minus 2 with three seeds, would be shown with some twelve:

        >>> found = reasons({"difference": 0.01, "low": -0.01, "high": 0.03, "seeds": 3}, {"teacher": 0.9, "control": 0.8})
        >>> [(one.name, one.advice) for one in found if one.holds]
        [('too few seeds', 'seeds=12')]
    """
    found = []
    taught, plain = figures.get("taught"), figures.get("linear")
    if taught is not None and plain is not None:
        found.append(
            Reason(
                "the student is below a linear classifier",
                f"right on {percent(taught)} of the test rows, a linear classifier on {percent(plain)}",
                taught < plain - NEAR,
                "more training.epochs, a larger training.learning_rate, or another student",
            )
        )
    teacher, control = figures.get("teacher"), figures.get("control")
    if teacher is not None and control is not None:
        found.append(
            Reason(
                "the student is at its ceiling",
                f"right on {percent(control)} of the test rows without the teacher, which is right on {percent(teacher)}",
                teacher - control < NEAR,
                "a teacher that is better on these data, or fewer labels",
            )
        )
    known, confidence = figures.get("known"), figures.get("confidence")
    if known is not None and confidence is not None:
        found.append(
            Reason(
                "the teacher repeats the labels",
                f"on labelled training rows it is right on {percent(known)}, its mean confidence is {percent(confidence)}, "
                f"and {percent(figures.get('labelled'))} of the rows have a label",
                known >= KNOWN and confidence >= SURE and (figures.get("labelled") or 0) > 0.5,
                "rows without a label, or augmented ones (data.augment)",
            )
        )
    near, other = figures.get("agreement"), figures.get("control_agreement")
    if near is not None and other is not None:
        found.append(
            Reason(
                "the student does not follow the teacher",
                f"it answers as the teacher does on {percent(near)} of the test rows, without it on {percent(other)}",
                near - other < NEAR,
                "more weight for the signal, or training.epochs",
            )
        )
    contradicts = figures.get("contradicts")
    if contradicts is not None:
        found.append(
            Reason(
                "labels are noisy",
                f"a teacher that is 90 % sure contradicts {percent(contradicts)} of them",
                contradicts > NOISE,
                "look at these labels; less weight for them (training.label_weight)",
            )
        )
    gain, low, high, seeds = (number(row.get(key)) for key in ("difference", "low", "high", "seeds"))
    if gain is not None and low is not None and high is not None and seeds is not None:
        reach = (high - low) / 2
        needed = math.ceil(seeds * (reach / gain) ** 2) if gain > 0 else 0
        found.append(
            Reason(
                "too few seeds",
                f"{100 * gain:+.2f} points, plus or minus {100 * reach:.2f}, with {seeds:g} seeds",
                0 < needed <= MOST_SEEDS,
                f"seeds={needed}",
            )
        )
    return sorted(found, key=lambda one: not one.holds)


def reason_blocks(found: Sequence[Reason]) -> list[Block]:
    """The reasons on a page."""
    if not found:
        return []
    rows = [[one.name, "yes" if one.holds else "no", one.measured, one.advice if one.holds else ""] for one in found]
    return [
        Table("Why no difference may be shown", ["reason", "so here", "measured", "what to change"], rows, prose=True)
    ]


def advice(found: Sequence[Reason]) -> str:
    """The one change with the best odds, in a sentence; empty where no reason holds."""
    first = next((one for one in found if one.holds), None)
    return "" if first is None else f"no difference is shown: {first.name} ({first.measured}); try {first.advice}"


def taught_blocks(
    arms: Mapping[str, Sequence[Predictions]],
    teacher: Predictions | None,
    names: Sequence[str],
    summary: Mapping[str, Any],
    kept: Mapping[str, Any],
) -> list[Block]:
    """What a report says of a finished run: the rows that changed, or why no difference is shown.

    Args:
        arms: predictions by arm and seed.
        teacher: its predictions, or None.
        names: (K) of classes.
        summary: `summary.json`.
        kept: `taught.json`.
    """
    row = next((one for one in summary.get("comparisons") or () if mapping(one).get("name") == "teacher"), None)
    if row is None or not {row["arm"], row["control"]} <= set(arms):
        return []
    taught, control = arms[row["arm"]], arms[row["control"]]
    word = verdict_of(row)[0]
    if word == "no difference shown":
        return reason_blocks([Reason(**one) for one in kept.get("reasons") or ()])
    if word == "not tested" or len(taught) != len(control):
        return []
    tables = changed_tables(taught, control, teacher, names)
    return [*tables, *example_blocks(kept.get("examples") or (), len(taught))]
