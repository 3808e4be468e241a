"""Is this teacher any good on this data? Score, chance level, calibration, before a single step is trained; whose class is which.

Shapes: N samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.types import Batch
from stillhouse.teachers.teacher import Teacher

BINS = 15


@dataclass(frozen=True)
class TeacherReport:
    """What a check found.

    Attributes:
        score: accuracy on the rows it was asked about.
        low: lower end of the score's 95 % Wilson interval.
        chance: share of the commonest class, what a guesser who knows it gets.
        ece: expected calibration error, 15 bins.
        status: "ready", or "at chance" where `low` does not exceed `chance`.
    """

    name: str
    score: float
    low: float
    chance: float
    ece: float
    rows: int
    head: Literal["own", "fitted", "new"]
    status: Literal["ready", "at chance"]


def check_teacher(teacher: Teacher, batches: Iterable[Batch]) -> TeacherReport:
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
