"""Local and global quality row by row: what an interval over rows and seeds is computed from.

Legend: n rows, D teacher's width, d student's width, b rows of one chunk. `neighbourhood.judge` gives the
figures of a whole set; a Spearman over all pairs belongs to no row, so that a verdict is drawn from the value of each row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.embed.metrics.neighbourhood import Floats, Metric, Space, checked_pair


def row_quality(
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    k: int = 10,
    metric: Metric = "cosine",
    student_metric: Metric = "euclidean",
) -> dict[str, Floats]:
    """What each row keeps: its near ones, and the order of all others by distance.

    Args:
        teacher: (n, D), held-out rows.
        student: (n, d), the same rows.
        k: neighbours, below n - 1.
        metric: distance on the teacher's side.
        student_metric: distance on the student's side.

    Returns:
        `knn_overlap` (n,): share of the row's k nearest in the teacher that are among its k nearest in the student; their mean
        is `judge`'s `knn_overlap@k`, but for ties. `row_spearman` (n,): rank correlation of the row's distances to all others;
        0 where one side's are all equal.

    Raises:
        InputError: as `judge`.

    Example:
        Four points on a line; the student moves the last beside the first. Row 0 has distances 1, 3, 7 and then 1, 3, 0.5.

        >>> line, moved = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[0.0], [1.0], [3.0], [-0.5]])
        >>> found = row_quality(line, moved, k=1, metric="euclidean")
        >>> found["knn_overlap"].tolist(), found["row_spearman"][0].round(3).item()
        ([0.0, 1.0, 1.0, 0.0], -0.5)
    """
    teacher, student = checked_pair(teacher, student, metric)
    n = len(teacher)
    if not 1 <= k < n - 1:
        raise InputError(f"k: expected 1 to {n - 2} (below all {n} rows but the row itself), got {k}")
    kept, orders = np.empty(n), np.empty(n)
    for (start, far), (_, near) in zip(Space(teacher, metric).blocks(), Space(student, student_metric).blocks()):
        here = slice(start, start + len(far))
        sides = [np.argpartition(distances, k, axis=1)[:, : k + 1] for distances in (far, near)]
        first = np.arange(len(far))[:, None] * n
        # the row itself is among both, and taken off
        kept[here] = (np.isin(first + sides[0], first + sides[1]).sum(1) - 1) / k
        orders[here] = _spearman(far, near)
    return {"knn_overlap": kept, "row_spearman": orders}


def _spearman(far: Floats, near: Floats) -> NDArray[np.float64]:
    """(b,) with mid-ranks for ties; a row's distance to itself (-1) is the least on both sides and is left out."""
    from scipy.stats import rankdata

    a, b = (rankdata(side, axis=1) for side in (far, near))
    rows = np.arange(len(a))
    itself = far.argmin(1)
    sums = []
    for ranks in (a, b):
        ranks -= ranks.mean(1, keepdims=True)
        # without the row itself, whose rank is 1: the others' mean rank is half a rank higher
        ranks -= 0.5
        ranks[rows, itself] = 0.0
        sums.append(np.square(ranks).sum(1))
    products = np.einsum("ij,ij->i", a, b)
    flat = (sums[0] <= 0) | (sums[1] <= 0)
    found: NDArray[np.float64] = np.where(flat, 0.0, products / np.sqrt(np.where(flat, 1.0, sums[0] * sums[1])))
    return found
