"""Is this teacher any good on this data? Score, chance level, calibration, before a single step is trained; whose class is which.

Shapes: N samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.types import Batch
from stillhouse.teachers.teacher import Teacher

BINS = 15
CLEARLY = 0.1  # of the accuracy: an assignment is reported where it gains so much on rows that did not choose it


@dataclass(frozen=True)
class TeacherReport:
    """What a check found.

    Attributes:
        score: accuracy on the rows it was asked about.
        low: lower end of the score's 95 % Wilson interval.
        chance: share of the commonest class, what a guesser who knows it gets.
        ece: expected calibration error, 15 bins.
        status: "ready", or "at chance" where `low` does not exceed `chance`.
        permuted: in words, the permutation of classes after which its answers fit; "" where there is none.
    """

    name: str
    score: float
    low: float
    chance: float
    ece: float
    rows: int
    head: Literal["own", "fitted", "new"]
    status: Literal["ready", "at chance"]
    permuted: str = ""


def check_teacher(teacher: Teacher, batches: Iterable[Batch], class_names: Sequence[str] = ()) -> TeacherReport:
    """Score a teacher on labelled batches (the validation split); raises nothing for a bad one; see the report.

    Of a teacher that was fitted with all classes weighed alike (`balanced`) the score is the mean of its classes' recalls, and
    chance one of their number: it gives rare classes answers that cost accuracy.

    Raises:
        InputError: no rows, rows without a label, or outputs that are not numbers.

    Source: Wilson 1927 (interval); Guo et al. 2017, arXiv:1706.04599 (calibration).
    """
    probabilities, labels = [], []
    for batch in batches:
        probabilities.append(torch.softmax(teacher(batch).logits.float(), dim=1).cpu())
        labels.append(batch.labels.cpu())
    if not labels:
        raise InputError(f"teacher {teacher.name}: no rows to check it on")
    p, y = torch.cat(probabilities), torch.cat(labels)
    require_labels(missing_labels(y), f"teacher {teacher.name}: the rows to check it on", "validation")
    bad = int((~torch.isfinite(p)).any(1).sum())
    if bad:
        raise InputError(f"teacher {teacher.name}: {bad} of {len(y)} outputs are NaN or infinite")
    confidence, answer = p.max(1)
    right = (answer == y).float()
    score, rows = float(right.mean()), len(y)
    chance = float(torch.bincount(y).max()) / rows
    low = wilson_low(score, rows)
    if getattr(teacher, "balanced", False):
        score, low, chance = _balanced(right, y)
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, (right - confidence).double())
    ece = float(gaps.abs().sum() / rows)
    return TeacherReport(
        teacher.name,
        score,
        low,
        chance,
        ece,
        rows,
        head="new" if teacher.head_is_new else "fitted" if teacher.head_was_fitted else "own",
        status="ready" if low > chance else "at chance",
        permuted=permutation(
            answer.numpy(),
            y.numpy(),
            class_names or [str(k) for k in range(p.shape[1])],
            getattr(teacher, "order", None),
        ),
    )


def wilson_low(share: float, rows: int) -> float:
    """Lower end of the 95 % Wilson score interval of a share.

    Example:
        >>> round(wilson_low(0.9, 100), 4)
        0.8256
    """
    from scipy.stats import binomtest

    return float(binomtest(round(share * rows), rows).proportion_ci(method="wilson").low)


def _balanced(right: torch.Tensor, labels: torch.Tensor) -> tuple[float, float, float]:
    """Mean recall of the classes that are there, the lower end of its interval, and chance.

    Source: Agresti, Coull 1998, The American Statistician 52(2) (two rows are added to each class).
    """
    found = [right[labels == label] for label in labels.unique()]
    score = sum(float(one.mean()) for one in found) / len(found)
    middle = [(float(one.sum()) + 1) / (len(one) + 2) for one in found]
    variance = sum(p * (1 - p) / (len(one) + 2) for p, one in zip(middle, found)) / len(found) ** 2
    return score, sum(middle) / len(found) - 1.959964 * math.sqrt(variance), 1 / len(found)


def order_of(theirs: Sequence[str], ours: Sequence[str]) -> list[int]:
    """(K) which of the teacher's scores belongs to each class of the data.

    Example:
        >>> order_of(["zebra", "Ape", "bear"], ["ape", "bear", "zebra"])
        [1, 2, 0]

    Raises:
        InputError: a class of the data that the teacher does not name, or a name that stands twice.
    """
    names = [str(name).strip().casefold() for name in theirs]
    wanted = [str(name).strip().casefold() for name in ours]
    lost = [name for name in wanted if name not in names]
    if lost or len(set(names)) < len(names):
        raise InputError(
            "teacher.classes: expected each name once, in the teacher's order, and the data's classes among them; "
            f"{len(lost)} of {len(ours)} are not named: {', '.join(lost[:5])}; {nearest(lost[0] if lost else '', theirs)}"
        )
    return [names.index(name) for name in wanted]


def permutation(
    answers: np.ndarray, labels: np.ndarray, names: Sequence[str], order: Sequence[int] | None = None
) -> str:
    """In words, which class each answer stands for, where answers fit the labels only after that; else "".

    It is found on every other row, by the assignment that makes most of them right, and judged on the rows between.

    Args:
        answers: (N) predicted classes.
        labels: (N).
        names: (K) of the data's classes.
        order: which of the teacher's scores each class has already, where `teacher.classes` was given.

    Source: Kuhn 1955 (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment

    mixed = np.random.default_rng(0).permutation(len(labels))  # rows may lie class by class
    find, judge = mixed[::2], mixed[1::2]
    if len(judge) == 0:
        return ""
    counts = 1e-6 * np.eye(len(names))  # in doubt, as it is
    np.add.at(counts, (answers[find], labels[find]), 1.0)
    stands_for = linear_sum_assignment(counts, maximize=True)[1]
    plain, after = ((a[judge] == labels[judge]).mean() for a in (answers, stands_for[answers]))
    if after < plain + CLEARLY or wilson_low(after, len(judge)) <= plain:
        return ""
    moved = ", ".join([f"{i}->{j}" for i, j in enumerate(stands_for) if i != j][:12])
    places = range(len(names)) if order is None else np.argsort(order)  # as the network's scores come
    return (
        f"your predictions fit the labels after a permutation ({100 * after:.2f} % then): {moved}; name the teacher's classes in "
        f"its order: teacher.classes=[{', '.join(str(names[stands_for[i]]) for i in places)}]"
    )
