"""Which rows go where: stratified, fixed by a seed, and nothing in two places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.classification.data.streamed import Rows, Streamed


def hold_out(rows: Rows, fraction: float, seed: int, class_names: Sequence[str], split: str) -> tuple[Rows, Rows]:
    """Take a stratified share of the labelled rows away, at least one a class, both parts in the order in which they came.

    A row that is alone in its class is never taken for validation: nothing else could teach that class.

    Args:
        rows: (N) rows; those without a label stay.
        fraction: share of the labelled ones that is taken, in (0, 1), rounded up, and up to one a class.
        seed: fixes which rows.
        class_names: (K), for messages.
        split: what the taken part is for (`validation`, `test`), for messages.

    Returns:
        What is left, what was taken.

    Raises:
        InputError: a class with fewer than 2 rows to test it, or too few rows to leave one a class.
    """
    from sklearn.model_selection import train_test_split

    labelled = np.flatnonzero(rows.labels.numpy() != MISSING)
    labels = rows.labels.numpy()[labelled]
    counts = np.bincount(labels, minlength=len(class_names))
    rare = int(counts.argmin())
    if counts[rare] < (2 if split == "test" else 1):
        raise InputError(
            f"class {class_names[rare]!r}: expected at least 2 rows to take a {split} split from, got {counts[rare]}"
        )
    shared = counts[labels] > 1
    taken = max(int(np.ceil(fraction * len(labels))), int((counts > 1).sum()))
    if len(labels) - taken < len(class_names):
        raise InputError(
            f"{split} split: expected at least {len(class_names)} rows (one a class) to be left, got {len(labels) - taken} of "
            f"{len(labels)} by {split}_fraction={fraction}"
        )
    labelled, labels = labelled[shared], labels[shared]
    _, held = train_test_split(labelled, test_size=taken, stratify=labels, random_state=seed)
    return pick(rows, np.setdiff1d(np.arange(len(rows.labels)), held)), pick(rows, np.sort(held))


def limit(rows: Rows, count: int | None, seed: int, num_classes: int, split: str) -> Rows:
    """At most `count` rows, every class in proportion; a smaller limit is a subset of a larger one.

    Raises:
        InputError: fewer than one row a class.
    """
    if count is None or count >= len(rows.labels):
        return rows
    if count < num_classes:
        raise InputError(f"{split}_limit: expected at least {num_classes} (one a class), got {count}")
    return pick(rows, sample_rows(len(rows.labels), count, labels=rows.labels.numpy(), seed=seed))


def check_every_class(labels: Tensor, class_names: Sequence[str]) -> None:
    """Raise unless every class has a labelled training image: a class never seen cannot be learned, only guessed."""
    counts = torch.bincount(labels[labels != MISSING], minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts.tolist()) if count == 0]
    if missing:
        more = f" (nor have {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise InputError(
            f"class {missing[0]!r} has no training images{more}: expected at least one for each of {len(class_names)} classes"
        )


def pick(rows: Rows, index: np.ndarray) -> Rows:
    """The rows of an index, copied; of streamed images nothing is decoded."""
    where = torch.from_numpy(index)
    numbers = where if rows.numbers is None else rows.numbers.index_select(0, where)
    streamed = isinstance(rows.images, Streamed)
    images = rows.images.pick(index.tolist()) if streamed else rows.images.index_select(0, where)  # type: ignore[union-attr]
    return Rows(images, rows.labels.index_select(0, where), numbers)
