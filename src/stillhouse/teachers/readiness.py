"""Is this teacher any good on this data? Score, chance level, calibration, before a single step is trained.

Shapes: N samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.types import Batch
from stillhouse.teachers.classes import in_words, permutation
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
        reliability: a bin each: mean confidence, accuracy, count.
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
    reliability: tuple[dict[str, float], ...]
    permuted: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for `teacher.json`."""
        return asdict(self)


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
    if not torch.isfinite(p).all():
        raise InputError(
            f"teacher {teacher.name}: {int((~torch.isfinite(p)).any(1).sum())} of {len(y)} outputs are NaN or infinite"
        )
    confidence, answer = p.max(1)
    right = (answer == y).float()
    score, rows = float(right.mean()), len(y)
    chance = float(torch.bincount(y).max()) / rows
    low = wilson_low(score, rows)
    if getattr(teacher, "balanced", False):
        score, low, chance = _balanced(right, y)
    bins = tuple(_bins(confidence, right))
    ece = sum(b["count"] / rows * abs(b["accuracy"] - b["confidence"]) for b in bins)
    head: Literal["own", "fitted", "new"] = (
        "new" if teacher.head_is_new else "fitted" if teacher.head_was_fitted else "own"
    )
    status: Literal["ready", "at chance"] = "ready" if low > chance else "at chance"
    found = permutation(answer.numpy(), y.numpy(), p.shape[1])
    names = class_names or [str(k) for k in range(p.shape[1])]
    permuted = in_words(*found, names, getattr(teacher, "order", None)) if found is not None else ""
    return TeacherReport(teacher.name, score, low, chance, ece, rows, head, status, bins, permuted)


def wilson_low(share: float, rows: int, z: float = 1.959964) -> float:
    """Lower end of the 95 % Wilson score interval of a share.

    Example:
        >>> round(wilson_low(0.9, 100), 4)
        0.8256
    """
    spread = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return (share + z * z / (2 * rows) - spread) / (1 + z * z / rows)


def _balanced(right: torch.Tensor, labels: torch.Tensor) -> tuple[float, float, float]:
    """Mean recall of the classes that are there, the lower end of its interval, and chance.

    Source: Agresti, Coull 1998, The American Statistician 52(2) (two rows are added to each class).
    """
    found = [right[labels == label] for label in labels.unique()]
    score = sum(float(one.mean()) for one in found) / len(found)
    middle = [(float(one.sum()) + 1) / (len(one) + 2) for one in found]
    variance = sum(p * (1 - p) / (len(one) + 2) for p, one in zip(middle, found)) / len(found) ** 2
    return score, sum(middle) / len(found) - 1.959964 * math.sqrt(variance), 1 / len(found)


def _bins(confidence: torch.Tensor, right: torch.Tensor) -> Iterable[dict[str, float]]:
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    for number in range(BINS):
        here = place == number
        if here.any():
            yield {
                "confidence": float(confidence[here].mean()),
                "accuracy": float(right[here].mean()),
                "count": int(here.sum()),
            }
