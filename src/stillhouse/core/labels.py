"""Which labels are missing: one rule for every source of labelled rows. A missing label is never a class. No torch.

Rows without a label cannot be used yet, so every source refuses them; support for training rows without labels begins at this mask.
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


class UnlabelledRows(InputError):
    """Rows without a label, where labels are needed.

    Attributes:
        line: how many they are, as the line about the data says it.
    """

    line: str = ""


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


def line_of_table(row: int) -> str:
    """What a row of a table is called: the first under the head is row 1."""
    return f"row {row + 1}"


def require_labels(
    missing: NDArray[np.bool_], where: str, split: str = "train", *, called: Callable[[int], str] = row_number
) -> None:
    """Refuse rows without a label: those for training until they can be used, those for validation and test always.

    Args:
        missing: (N) of `missing_labels`.
        where: the rows lie: a file and its column, an array, a folder.
        split: train, validation or test; train where the others are still to be taken from the rows.
        called: what the row of a number is called.

    Raises:
        UnlabelledRows: how many, where, and what to do.
    """
    count = int(missing.sum())
    if not count:
        return
    use = "rows without a label cannot be trained on yet" if split == "train" else f"each {split} row needs one"
    error = UnlabelledRows(
        f"{where}: no label in {count:,} of {len(missing):,} rows (first: {called(int(missing.argmax()))}); {use}: label them, or "
        "take them out"
    )
    error.line = f"{where}, {len(missing) - count:,} labelled, {count:,} unlabelled"
    raise error
