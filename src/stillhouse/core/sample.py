"""Which rows stand for a whole split wherever only a part of it is looked at: drawn by a seed, every class in its share.

The first rows of a split are no sample of it: files in folders come class by class, texts and lines source by source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sample_rows(
    rows: int, count: int | None, *, labels: ArrayLike | None = None, seed: int | None = 0
) -> NDArray[np.int64]:
    """Row numbers of a sample, ascending; a smaller sample is a part of a larger one.

    Each class is laid out evenly over [0, 1) in a seeded order, its first row at 0, and the `count` lowest are kept: shares
    are right to one row, and classes of a single row are welcome, which scikit-learn refuses.

    Args:
        rows: N, of the split.
        count: rows wanted; all of them where there are no more, or where it is None.
        labels: (N) whole numbers; None: rows without classes, of which a plain draw is taken.
        seed: fixes which; None: others each time.

    Returns:
        (min(count, N)) from 0 to N - 1.

    Example:
        A split that is sorted by class, a third of it:

        >>> labels = [0] * 6 + [1] * 3
        >>> [labels[row] for row in sample_rows(9, 3, labels=labels)]
        [0, 0, 1]
        >>> sample_rows(4, 9).tolist()
        [0, 1, 2, 3]
    """
    if count is None or count >= rows:
        return np.arange(rows)
    order = np.random.default_rng(seed).permutation(rows)
    given = np.zeros(rows, dtype=np.int64) if labels is None else np.asarray(labels)[order]
    _, own, sizes = np.unique(given, return_inverse=True, return_counts=True)
    place = np.empty(rows)  # in the seeded order: of how many of its class each row is the how-manieth, from 0
    place[np.argsort(own, kind="stable")] = np.arange(rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[np.argsort(place / sizes[own], kind="stable")[:count]])
