"""Which labels are missing: one rule for every source of labelled rows. A missing label is never a class. No torch.

A training row may lack one: it is then learned by what needs no label. A validation or test row may not.

And which rows stand for a whole split wherever only a part of it is looked at: drawn by a seed, every class in its share. The
first rows of a split are no sample of it: files in folders come class by class, texts and lines source by source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError

MISSING = -1  # in place of a class number
CELLS = frozenset({"", "null", "nan", "<na>", "-1", "-1.0"})  # of tables, in small letters
FOLDERS = frozenset({"unlabelled", "unlabeled"})  # beside class folders, in small letters


def missing_labels(labels: Any) -> NDArray[np.bool_]:
    """Which labels are missing: None, NaN, -1, and the texts that stand for one of them in a table.

    Args:
        labels: (N) numbers, texts, or a mixture.

    Returns:
        (N) True where there is no label.

    Example:
        >>> missing_labels(["cat", "", None, "NaN", " null ", "-1", "0"]).tolist()
        [False, True, True, True, True, True, False]
        >>> missing_labels(np.array([0.0, np.nan, -1.0])).tolist()
        [False, True, True]
    """
    if not isinstance(labels, (list, tuple)):
        found = np.asanyarray(labels)
        if found.dtype.kind in "iubf" and not np.ma.isMaskedArray(found):
            return np.asarray(np.isnan(found) | (found == MISSING))
        labels = found.tolist()  # None where it is masked
    return np.array([x is None or str(x).strip().lower() in CELLS for x in labels], bool)


def row_number(row: int) -> str:
    """What a row of an array is called."""
    return f"row {row}"


def require_labels(
    missing: NDArray[np.bool_], where: str, split: str, *, called: Callable[[int], str] = row_number
) -> None:
    """Refuse rows of a validation or test split without a label.

    Args:
        missing: (N) of `missing_labels`.
        where: the rows lie: a file and its column, an array, a folder.
        split: validation or test.
        called: what the row of a number is called.

    Raises:
        UnlabelledRows: how many, where, and what to do.
    """
    count = int(missing.sum())
    if not count:
        return
    raise InputError(
        f"{where}: no label in {count:,} of {len(missing):,} rows (first: {called(int(missing.argmax()))}); each {split} row "
        "needs one: label them, or take them out"
    )


def whole_numbers(labels: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Class numbers of labels some of which are missing: NaN makes whole numbers floats, and None makes them objects.

    Args:
        labels: (N).
        missing: (N) of `missing_labels`.

    Returns:
        (N) int64 with -1 where there is none; the labels as they came where the others are no whole numbers.

    Example:
        >>> labels = np.array([2.0, np.nan, 0.0])
        >>> whole_numbers(labels, missing_labels(labels)).tolist()
        [2, -1, 0]
    """
    given = np.array(labels[~missing].tolist())
    if given.dtype.kind == "f" and (given % 1 == 0).all():
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu":
        return labels
    found = np.full(len(labels), MISSING, np.int64)
    found[~missing] = given
    return found


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
