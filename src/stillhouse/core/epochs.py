"""Whether a student was trained long enough, and whether the epoch that it keeps is a good one: from its validations. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillhouse.report.words import score_words

TENTH, SHARE = 10, 0.05  # of the epochs, of all that was gained
FEWEST = 3  # epochs: two show no pace


def comparable(ranks: Sequence[Sequence[float]], objectives: Sequence[float]) -> list[float]:
    """Objectives of the last validations that compare: of equal entries before it in a rank (how far a network is quantized).

    Example:
        >>> comparable([(0.5, -3.0), (1.0, -4.0), (1.0, -3.5)], [-3.0, -4.0, -3.5])
        [-4.0, -3.5]
        >>> comparable([(0.5, -3.0), (0.7, -4.0)], [0.5, 0.7])
        [0.5, 0.7]
    """
    before = [
        tuple(rank[: next((place for place, entry in enumerate(rank) if entry == value), 0)])
        for rank, value in zip(ranks, objectives, strict=True)
    ]
    kept: list[float] = []
    for value, prefix in zip(reversed(objectives), reversed(before), strict=True):
        if prefix != before[-1]:
            break
        kept.insert(0, value)
    return kept


def hints(
    curves: Sequence[Sequence[float]], last: int, *, arm: str, keep: str, objective: str, in_percent: bool
) -> list[str]:
    """What is to be said of an arm's epochs: that it was still improving, or that the epoch it keeps is worse than its best.

    A student was still improving where the last tenth of the epochs (one at least) brought more than a twentieth of all that
    was gained since the first, which is half of what an even pace would bring, and more than any fall from one epoch to the
    next in the second half, which is how far chance moves a score. A last epoch is clearly worse than the best one by the same
    measure, with the falls before the best one.

    Args:
        curves: the objective after each epoch up to the last, larger is better: one a seed; their mean is looked at.
        last: number of the last epoch.
        arm: its name.
        keep: which epoch's weights it ends with, "best" or "last".
        objective: in words.
        in_percent: whether it is a share.

    Example:
        >>> hints([[0.2, 0.5, 0.7]], 3, arm="kd", keep="best", objective="validation accuracy", in_percent=True)[0][:53]
        'the student (kd) was still improving at the last epoc'
        >>> hints([[0.2, 0.7, 0.7]], 3, arm="kd", keep="best", objective="validation accuracy", in_percent=True)
        []
    """
    if not curves or len({len(curve) for curve in curves}) != 1 or len(curves[0]) < FEWEST:
        return []
    scores = np.asarray(curves, dtype=float).mean(0)
    if not np.isfinite(scores).all():
        return []
    best, count = int(scores.argmax()), len(scores)
    first = last - count + 1  # number of the first epoch that is compared
    least = SHARE * float(scores.max() - scores[0])

    def at(place: int) -> str:
        return f"{score_words(float(scores[place]), in_percent)} after epoch {first + place}"

    earlier = int(scores[: count - max(1, count // TENTH)].argmax())
    if scores[-1] - scores[earlier] > max(least, _largest_fall(scores[count // 2 :])):
        return [
            f"the student ({arm}) was still improving at the last epoch ({objective} {at(earlier)}, {at(count - 1)}): more "
            f"epochs may help (--epochs {2 * last})"
        ]
    if keep == "last" and scores[best] - scores[-1] > max(least, _largest_fall(scores[: best + 1])):
        return [
            f"the student ({arm}) keeps its last epoch, which is clearly worse than its best ({objective} {at(best)}, "
            f"{at(count - 1)}): --set training.keep=best keeps that one"
        ]
    return []


def _largest_fall(scores: np.ndarray) -> float:
    return float(np.maximum(-np.diff(scores), 0).max(initial=0.0))
