"""Files that hold something for each row of the data: vectors, or the answers of any model.

Legend: N rows of the data, D numbers of a vector, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.tasks.classification.data.readers import is_missing, number_in, rows_of


def read_vectors(path: Path) -> NDArray[Any]:
    """(N, D) of a .npy file, or of the arrays `train` and `test` of a .npz file, one after the other.

    Raises:
        InputError: no such file, another file, or arrays of another shape.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if hasattr(found, "files"):
            parts = [np.asarray(found[key]) for key in ("train", "test") if key in found.files]
            if "train" not in found.files:
                raise InputError(f"{path}: expected an array 'train', got {', '.join(found.files) or 'none'}")
            found = np.concatenate(parts)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"{path}: expected vectors in a .npy or .npz file, got one that cannot be read: {why}"
        ) from None
    array: NDArray[Any] = np.asarray(found)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers (rows, width), got {array.dtype} of shape {array.shape}")
    return array


def read_predictions(path: Path, data: Any, whole: bool) -> NDArray[np.float64]:
    """(N, K) answers of a file, by the numbers of the rows; NaN where it has none.

    A table (.csv, .tsv, .jsonl, .parquet) has a column of probabilities for each class, by its name, or one column `label` or
    `prediction` with names of classes; its rows are in the order of the data, or numbered from 0 in a column `row`. A .npy file
    holds probabilities (N, K), class numbers (N) or names (N).

    Args:
        path: the file.
        data: of the run.
        whole: the data hold all rows of their file.

    Raises:
        InputError: a file that cannot be read, lacks a class, or names a class or row that the data do not have.
    """
    classes = data.input_spec.class_names
    numbers = None
    if path.suffix.lower() == ".npy":
        found = _of_array(path, classes)
    else:
        rows = rows_of(path)
        numbers = [row.get("row") for row in rows] if "row" in rows[0] else None
        found = _of_table(path, rows, classes)
    if numbers is None:
        check_length(f"predictions {path}", len(found), data, whole)
        return found
    return _placed(path, found, numbers, data)


def _of_array(path: Path, classes: Sequence[str]) -> NDArray[np.float64]:
    try:
        given = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path}: expected predictions in a .npy file, got one that cannot be read: {why}") from None
    if given.ndim == 2 and given.dtype.kind == "f":
        return np.asarray(given, np.float64)
    if given.ndim == 1 and given.dtype.kind in "iu":
        names = [classes[n] if 0 <= n < len(classes) else str(n) for n in given.tolist()]
        return _one_hot(path, names, classes)
    if given.ndim == 1 and given.dtype.kind == "U":
        return _one_hot(path, given.tolist(), classes)
    raise InputError(
        f"{path}: expected probabilities (rows, {len(classes)}) or a class a row, got {given.dtype} of shape {given.shape}"
    )


def _of_table(path: Path, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> NDArray[np.float64]:
    columns = [str(name) for name in rows[0]]
    named = next((name for name in ("prediction", "label") if name in columns), None)
    there = [name for name in classes if name in columns]
    if len(there) < len(classes):
        if named is not None and not there:
            return _one_hot(path, [row.get(named) for row in rows], classes)
        lacking = next(name for name in classes if name not in columns)
        raise InputError(
            f"{path}: expected a column for each class, or one called label; {lacking!r}: {nearest(lacking, columns)}"
        )
    found = np.full((len(rows), len(classes)), np.nan)
    for number, row in enumerate(rows):
        for place, name in enumerate(classes):
            if not is_missing(row.get(name)):
                value = number_in(row.get(name))
                if value is None:
                    raise InputError(f"{path}: row {number}, {name!r}: expected a number, got {row.get(name)!r:.40}")
                found[number, place] = value
    return found


def _one_hot(path: Path, names: Sequence[Any], classes: Sequence[str]) -> NDArray[np.float64]:
    """(N, K) of names; NaN where there is none."""
    found = np.full((len(names), len(classes)), np.nan)
    for row, name in enumerate(names):
        if name is None or not str(name).strip():
            continue
        if str(name) not in classes:
            raise InputError(
                f"{path}: row {row}: {str(name)[:40]!r} is no class of the data; {nearest(str(name), classes)}"
            )
        found[row] = [float(str(name) == other) for other in classes]
    return found


def _placed(path: Path, found: NDArray[np.float64], numbers: Sequence[Any], data: Any) -> NDArray[np.float64]:
    """Answers at the numbers that the file gives its rows."""
    most = 1 + max(int(numbers_of("predictions", split).max()) for split in data.for_teachers.whole_splits.values())
    placed, given = np.full((most, found.shape[1]), np.nan), set()
    for line, number in enumerate(numbers):
        place = number_in(number)
        if place is None or place != int(place) or not 0 <= place < most or place in given:
            why = "it is there twice" if place in given else f"expected 0 to {most - 1}"
            raise InputError(f"{path}: line {line + 1} of the rows: row {number!r}: {why}")
        given.add(place)
        placed[int(place)] = found[line]
    return placed


def check_length(what: str, rows: int, data: Any, whole: bool) -> None:
    """Raise unless there are as many answers or vectors as rows.

    Args:
        what: has them, for messages.
        rows: how many it has.
        data: of the run; a test split that came in a file of its own may be left out.
        whole: the data hold all rows of their file.
    """
    splits = data.for_teachers.whole_splits
    numbers = {name: numbers_of(what, split) for name, split in splits.items()}
    own = 1 + int(torch.cat([numbers["train"], numbers["validation"]]).max())
    apart = int(numbers["test"].min()) >= own
    most = max(own, 1 + int(numbers["test"].max()))
    wanted = {most, own} if apart else {most}
    if (whole and rows not in wanted) or rows < min(wanted):
        first = f"{own:,}, or {most:,} with those of the test file after them" if apart and own < most else f"{most:,}"
        raise InputError(f"{what}: expected a row for each row of the data ({first}), in their order, got {rows:,}")


def numbers_of(what: str, split: Any) -> torch.Tensor:
    """(N) numbers of the rows of a split in the data."""
    numbers: torch.Tensor | None = getattr(split, "numbers", None)
    if numbers is None:
        raise InputError(f"{what}: answers by the number of a row, and these data have none")
    return numbers
