"""What the teacher taught: the test rows that it changed, or the likeliest reason why no difference is shown. No torch.

Axes: S seeds, N test rows, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_arrays
from stillhouse.core.verdict import verdict_of
from stillhouse.report.blocks import Block, Figure, Table
from stillhouse.report.read import Array, mapping, number
from stillhouse.report.words import percent

FILE = "taught.json"
CONFIDENCES = (0.0, 0.5, 0.8, 0.95, 1.0)  # of the teacher's answer: ends of the rows of a table
MOST_SEEDS = 50  # beyond which more seeds are no advice
SURE, KNOWN = 0.95, 0.99  # a teacher that only repeats labels: mean confidence and accuracy on training rows
NEAR = 0.01  # a teacher hardly above the control; answers hardly nearer to the teacher's
NOISE = 0.03  # share of labels that a sure teacher contradicts
HEAD = ("test rows", "wrong to right", "right to wrong", "difference")


@dataclass(frozen=True)
class Predictions:
    """What a model puts out for the test split: labels (N,) and probabilities (N, K)."""

    labels: Array
    probabilities: Array

    @property
    def choices(self) -> Array:
        """(N,) the most probable class."""
        return self.probabilities.argmax(axis=1)


def read_predictions(path: Path) -> Predictions:
    """Those of an arm, as its folder keeps them.

    Raises:
        InputError: they cannot be read.
    """
    found = read_arrays(path, ["labels", "probabilities"])
    labels, probabilities = found["labels"], found["probabilities"]
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not np.isfinite(probabilities).all():
        raise InputError(f"{path}: expected finite probabilities (N, K) and labels (N,), got others")
    return Predictions(labels, probabilities)


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
) -> list[Table]:
    """Test rows that were put right and wrong, by class and by how sure the teacher is of its answer."""
    gained, lost = changed(taught, control)
    labels = taught[0].labels

    def cells(chosen: Array) -> list[str]:
        up, down = float(gained[chosen].sum()), float(lost[chosen].sum())
        return [str(int(chosen.sum())), f"{up:.1f}", f"{down:.1f}", f"{up - down:+.1f}"]

    by_class = [(names[k], labels == k) for k in np.unique(labels)]
    by_class.sort(key=lambda row: -float((gained - lost)[row[1]].sum()))
    rows = [[name, *cells(chosen)] for name, chosen in [*by_class, ("all", np.ones(len(labels), bool))]]
    caption = "Mean number of test rows over seeds, beside the same student without the teacher."
    tables = [Table("What the teacher changed", ["class", *HEAD], rows, caption)]
    if teacher is not None:
        sure, rows = teacher.probabilities.max(1), []
        for low, high in itertools.pairwise(CONFIDENCES):
            chosen = (sure > low) & (sure <= high)
            if chosen.any():
                right = percent(float((teacher.choices == labels)[chosen].mean()))
                rows.append([f"{percent(low, 0)} to {percent(high, 0)}", right, *cells(chosen)])
        head = ["its confidence", "teacher right", *HEAD]
        tables.append(Table("Where the teacher was sure", head, rows, "The same test rows."))
    return tables


def example_blocks(found: Sequence[Mapping[str, Any]], seeds: int) -> list[Block]:
    """The examples on a page."""
    drawings = []
    for one in found:
        drawing = Markup("<p>{}</p>").format(one.get("text", f"test row {one['row']}"))
        if "png" in one:
            picture = Markup('<img src="{}" alt="test row {}" width="96">')
            drawing = picture.format(one["png"], one["row"])
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


Measure = Callable[[Mapping[str, float]], bool]
REASONS: tuple[tuple[tuple[str, ...], str, str, Measure, str], ...] = (
    (
        ("taught", "linear"),
        "the student is below a linear classifier",
        "right on {taught} of the test rows, a linear classifier on {linear}",
        lambda x: x["taught"] < x["linear"] - NEAR,
        "more training.epochs, a larger training.learning_rate, or another student",
    ),
    (
        ("teacher", "control"),
        "the student is at its ceiling",
        "right on {control} of the test rows without the teacher, which is right on {teacher}",
        lambda x: x["teacher"] - x["control"] < NEAR,
        "a teacher that is better on these data, or fewer labels",
    ),
    (
        ("known", "confidence", "labelled"),
        "the teacher repeats the labels",
        "on labelled training rows it is right on {known}, its mean confidence is {confidence}, and {labelled} of the rows have a "
        "label",
        lambda x: x["known"] >= KNOWN and x["confidence"] >= SURE and x["labelled"] > 0.5,
        "rows without a label, or augmented ones (data.augment)",
    ),
    (
        ("agreement", "control_agreement"),
        "the student does not follow the teacher",
        "it answers as the teacher does on {agreement} of the test rows, without it on {control_agreement}",
        lambda x: x["agreement"] - x["control_agreement"] < NEAR,
        "more weight for the signal, or training.epochs",
    ),
    (
        ("contradicts",),
        "labels are noisy",
        "a teacher that is 90 % sure contradicts {contradicts} of them",
        lambda x: x["contradicts"] > NOISE,
        "look at these labels; less weight for them (training.label_weight)",
    ),
)


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
    known = {name: value for name, value in figures.items() if value is not None}
    said = {name: percent(value) for name, value in known.items()}
    found = [
        Reason(name, measured.format(**said), holds(known), change)
        for needed, name, measured, holds, change in REASONS
        if set(needed) <= set(known)
    ]
    gain, low, high, seeds = (number(row.get(key)) for key in ("difference", "low", "high", "seeds"))
    if gain is not None and low is not None and high is not None and seeds is not None:
        reach = (high - low) / 2
        needed = math.ceil(seeds * (reach / gain) ** 2) if gain > 0 else 0
        measured = f"{100 * gain:+.2f} points, plus or minus {100 * reach:.2f}, with {seeds:g} seeds"
        found.append(Reason("too few seeds", measured, 0 < needed <= MOST_SEEDS, f"seeds={needed}"))
    return sorted(found, key=lambda one: not one.holds)


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
    if kept.get("reasons"):
        head = ["reason", "so here", "measured", "what to change"]
        rows = [
            [one["name"], "yes" if one["holds"] else "no", one["measured"], one["advice"] if one["holds"] else ""]
            for one in kept["reasons"]
        ]
        return [Table("Why no difference may be shown", head, rows, prose=True)]
    if verdict_of(row)[0] not in ("helps", "hurts") or len(taught) != len(control):
        return []
    tables = changed_tables(taught, control, teacher, names)
    return [*tables, *example_blocks(kept.get("examples") or (), len(taught))]
