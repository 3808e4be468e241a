"""Which labels are missing: one rule for every source of labelled rows. A missing label is never a class. No torch.

A training row may lack one: it is then learned by what needs no label. A validation or test row may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
