"""Teachers of a run that know rows by their number: a file of vectors with a head that is fitted to each seed's labels.

Legend: N rows of the data, D numbers of a vector, K classes.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.tasks.classification.data.features import BANKING, HERE
from stillhouse.tasks.classification.data.label_draw import whole_splits
from stillhouse.teachers import TeacherConfig
from stillhouse.teachers.by_row import FittedTeacher, RowTeacher, fitted_again, logistic_head


def row_teacher(source: TeacherConfig, data: Any, *, ready: bool, whole: bool) -> RowTeacher:
    """The teacher of a source that names rows: `vectors:FILE`, or `builtin:banking`.

    Args:
        source: its `source` is one of `teachers.BY_ROW`.
        data: of the run.
        ready: fit it to the labelled training rows; else it is only known by what it is fitted to.
        whole: the data hold all rows of their file, so that a file of another number of rows is of other data.

    Raises:
        InputError: a file that cannot be read, or is not of these rows.
    """
    name = source.source.partition(":")[2]
    vectors = read_vectors(HERE / "vectors.npy" if source.source == BANKING else Path(name).expanduser())
    check_length(f"teacher {source.source}", len(vectors), data, whole)
    teacher = head_on(source.source, vectors, data, source.balanced)
    return fitted_to(teacher, data) if ready else teacher


def head_on(name: str, vectors: NDArray[Any], data: Any, balanced: bool | None = None) -> FittedTeacher:
    """A logistic head on vectors (N, D), fitted to no labels yet.

    Raises:
        InputError: a vector that is not finite.
    """
    x = np.ascontiguousarray(vectors, np.float32)
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        raise InputError(
            f"teacher {name}: expected finite vectors, got NaN or infinite ones in {int(bad.sum()):,} rows "
            f"(first: {int(bad.argmax())})"
        )
    digest = hashlib.sha256(f"head {balanced} {x.shape}".encode() + x.tobytes()).hexdigest()
    choose = partial(logistic_head, balanced=balanced)
    return FittedTeacher(name, x, data.input_spec.num_classes, choose, digest)


def fitted_to(teacher: FittedTeacher, data: Any) -> FittedTeacher:
    """A teacher fitted to the training rows of data that have a label."""
    train = data.for_teachers.train
    return fitted_again(teacher, train, torch.nonzero(train.labels != MISSING).flatten())


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


def check_length(what: str, rows: int, data: Any, whole: bool) -> None:
    """Raise unless there are as many answers or vectors as rows.

    Args:
        what: has them, for messages.
        rows: how many it has.
        data: of the run; a test split that came in a file of its own may be left out.
        whole: the data hold all rows of their file.
    """
    splits = whole_splits(data.for_teachers)
    numbers = {name: _numbers(what, split) for name, split in splits.items()}
    own = 1 + int(torch.cat([numbers["train"], numbers["validation"]]).max())
    apart = int(numbers["test"].min()) >= own
    most = max(own, 1 + int(numbers["test"].max()))
    wanted = {most, own} if apart else {most}
    if (whole and rows not in wanted) or rows < min(wanted):
        first = f"{own:,}, or {most:,} with those of the test file after them" if apart and own < most else f"{most:,}"
        raise InputError(f"{what}: expected a row for each row of the data ({first}), in their order, got {rows:,}")


def _numbers(what: str, split: Any) -> torch.Tensor:
    numbers: torch.Tensor | None = getattr(split, "numbers", None)
    if numbers is None:
        raise InputError(f"{what}: answers by the number of a row, and these data have none")
    return numbers
