"""Labelled rows in three splits: what each split can do however its rows are held, and which rows go where.

Legend: B batch, N rows, n rows of a sample, K classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING, sample_rows
from stillhouse.core.types import Batch
from stillhouse.tasks.classification.data.streamed import CHUNK, Streamed


class Split(ABC):
    """N labelled rows; a subclass holds them and brings the rows of an index."""

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B)."""

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def sample(self, count: int, seed: int = 0) -> Split:
        """At most `count` rows, every class in its share, in the order of the split; the whole split where it has no more.

        Wherever a part of a split stands for the whole, it is this one: first rows would be of the first classes.

        Example:
            >>> from stillhouse.tasks.classification.data.images import ImageSplit
            >>> split = ImageSplit(torch.zeros(6, 1, 2, 2), torch.tensor([0, 0, 0, 0, 1, 1]))
            >>> split.sample(3).labels.tolist(), split.sample(9) is split
            ([0, 0, 1], True)
        """
        if count >= len(self):
            return self
        return Part(self, torch.from_numpy(sample_rows(len(self), count, labels=self.labels.numpy(), seed=seed)))


class Part(Split):
    """Some rows of a split; the index of a batch names the rows of the whole one.

    Args:
        split: N rows.
        rows: (n) int64 of them.
    """

    def __init__(self, split: Any, rows: Tensor) -> None:
        self.split, self.rows, self.labels = split, rows, split.labels.index_select(0, rows)

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index (B) from 0 to n - 1."""
        found: Batch = self.split.batch(self.rows.index_select(0, index))
        return found


def labelled_rows(split: Any) -> Any:
    """The rows of a split that have a label; the split itself where all have.

    Example:
        >>> from stillhouse.tasks.classification.data.images import ImageSplit
        >>> split = ImageSplit(torch.zeros(3, 1, 2, 2), torch.tensor([1, -1, 0]))
        >>> labelled_rows(split).labels.tolist()
        [1, 0]
    """
    there = split.labels != MISSING
    return split if bool(there.all()) else Part(split, torch.nonzero(there).flatten())


@dataclass(frozen=True)
class SplitData:
    """Three splits of one data set that share no row, and the task that they set.

    Attributes:
        name: of the data set.
        train: what is learned from.
        validation: on which the best epoch is picked.
        test: read once, at the end.
        input_spec: class names, and what a model must know of a row.
        hidden: labels behind a limit (`Hidden`), of which each seed of a run has some; None: every label is used.
    """

    name: str
    train: Any
    validation: Any
    test: Any
    input_spec: Any
    hidden: Any = None

    @property
    def for_teachers(self) -> Any:
        """The data as a teacher looks at them."""
        return self

    @property
    def changes(self) -> bool:
        """Whether a training row differs from one epoch to the next."""
        return False

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of every split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @property
    def whole_splits(self) -> dict[str, Any]:
        """Every split with all its rows and labels, of which a seed of a run sees some."""
        first: Any = self.hidden or self
        return {"train": first.train, "validation": first.validation, "test": self.test}

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the rows and labels of all splits, the same for every seed: equal only for equal data."""
        return fingerprint((name, split.held, split.labels) for name, split in self.whole_splits.items())

    @property
    def test_sha256(self) -> str:
        """Of the rows that are tested, with their labels."""
        return fingerprint([("test", self.test.held, self.test.labels)])

    @property
    def facts(self) -> dict[str, Any]:
        """Classes, the shape of one row, the fingerprint of the test split."""
        names, shape = list(self.input_spec.class_names), list(self.input_spec.shape)
        return {"class_names": names, "image_shape": shape, "test_sha256": self.test_sha256}

    def augment(self, inputs: Tensor, *, seed: int) -> Tensor:
        """A training batch as it is seen at a step; the same seed gives the same batch."""
        return inputs


def fingerprint(splits: Iterable[tuple[str, Tensor | Streamed, Tensor]]) -> str:
    """SHA-256 over name, type, shape, rows and labels of every split, in order: equal only for equal data."""
    digest = hashlib.sha256()
    for name, held, labels in splits:
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}\n".encode())
        if isinstance(held, Streamed):
            digest.update(held.fingerprint().encode())
        else:
            for chunk in held.split(CHUNK):
                digest.update(chunk.contiguous().numpy().data)
        digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- which rows go where


def hold_out(
    labels: Tensor, fraction: float, seed: int, class_names: Sequence[str], split: str
) -> tuple[Tensor, Tensor]:
    """Take a stratified share of the labelled rows away, at least one a class, both parts in the order in which they came.

    A row that is alone in its class is never taken for validation: nothing else could teach that class.

    Args:
        labels: (N); rows without one stay.
        fraction: share of the labelled ones that is taken, in (0, 1), rounded up, and up to one a class.
        seed: fixes which rows.
        class_names: (K), for messages.
        split: what the taken part is for (`validation`, `test`), for messages.

    Returns:
        Rows that are left, rows that were taken.

    Raises:
        InputError: a class with fewer than 2 rows to test it, or too few rows to leave one a class.
    """
    from sklearn.model_selection import train_test_split

    labelled = np.flatnonzero(labels.numpy() != MISSING)
    known = labels.numpy()[labelled]
    counts = np.bincount(known, minlength=len(class_names))
    rare = int(counts.argmin())
    if counts[rare] < (2 if split == "test" else 1):
        raise InputError(
            f"class {class_names[rare]!r}: expected at least 2 rows to take a {split} split from, got {counts[rare]}"
        )
    shared = counts[known] > 1
    taken = max(int(np.ceil(fraction * len(known))), int((counts > 1).sum()))
    if len(known) - taken < len(class_names):
        raise InputError(
            f"{split} split: expected at least {len(class_names)} rows (one a class) to be left, got {len(known) - taken} of "
            f"{len(known)} by {split}_fraction={fraction}"
        )
    _, held = train_test_split(labelled[shared], test_size=taken, stratify=known[shared], random_state=seed)
    left = np.setdiff1d(np.arange(len(labels)), held)
    return torch.from_numpy(left), torch.from_numpy(np.sort(held))


def limit(labels: Tensor, count: int | None, seed: int, num_classes: int, split: str) -> Tensor:
    """At most `count` rows, every class in proportion; a smaller limit is a subset of a larger one.

    Raises:
        InputError: fewer than one row a class.
    """
    if count is not None and count < min(num_classes, len(labels)):
        raise InputError(f"{split}_limit: expected at least {num_classes} (one a class), got {count}")
    return torch.from_numpy(sample_rows(len(labels), count, labels=labels.numpy(), seed=seed))


# ---------------------------------------------------------------------------------------------- a few labels of many


@dataclass(frozen=True)
class Hidden:
    """What lies behind a limit of labels. Only `drawn` and the fingerprint of the data read it.

    Attributes:
        train: the training split with all its labels.
        validation: the whole validation split.
        training: how many training rows keep their label.
        validating: how many validation rows there are.
        seed: of the splits.
    """

    train: Any
    validation: Any
    training: int
    validating: int
    seed: int


def limit_labels(data: Any, limit: int | None, fraction: float, seed: int) -> Any:
    """Data with at most so many labels for training and validation together, drawn for seed 0; see `drawn`.

    Validation rows are labelled rows: they count among the limit. Validation rows that are not drawn are left out.

    Args:
        data: a `SplitData`.
        limit: labels; None, or as many as there are: the data as they are.
        fraction: share of them that goes to validation, at least one.
        seed: of the splits.

    Raises:
        InputError: fewer than one label a class to learn from.
    """
    labels = data.train.labels
    there = int((labels != MISSING).sum())
    if limit is None or limit >= there + len(data.validation):
        return data
    validating = min(len(data.validation), max(1, round(limit * fraction)))
    classes = len(torch.unique(labels[labels != MISSING]))
    if limit - validating < classes:
        raise InputError(
            f"data.label_limit: expected at least {classes + validating} (one for each of {classes} classes, and {validating} for "
            f"validation), got {limit}"
        )
    hidden = Hidden(data.train, data.validation, min(there, limit - validating), validating, seed)
    return drawn(replace(data, hidden=hidden), 0)


def drawn(data: Any, seed: int) -> Any:
    """The data as one seed of a run sees them: its own labelled rows, classes in proportion, and no other label.

    Args:
        data: a `SplitData`; without a limit it is the same for every seed.
        seed: of the run.
    """
    hidden: Hidden | None = data.hidden
    if hidden is None:
        return data
    draw = 1_000_003 * (hidden.seed + 1) + seed
    labels = hidden.train.labels
    there = np.flatnonzero(labels.numpy() != MISSING)
    kept = torch.from_numpy(there[sample_rows(len(there), hidden.training, labels=labels.numpy()[there], seed=draw)])
    shown = torch.full_like(labels, MISSING).index_copy(0, kept, labels.index_select(0, kept))
    held = hidden.validation
    rows = torch.from_numpy(sample_rows(len(held), hidden.validating, labels=held.labels.numpy(), seed=draw))
    return replace(data, train=replace(hidden.train, labels=shown), validation=Part(held, rows))


def count_split_rows(data: Any) -> str:
    """How many rows each split has, and how many of the training rows have a label.

    Example:
        >>> from stillhouse.tasks.classification.data.config import DataConfig
        >>> count_split_rows(DataConfig(label_limit=100).build())
        '970 train (90 labelled, drawn anew for each seed), 10 validation (labelled, of the limit), 719 test'
    """
    parts = [f"{count:,} {split}" for split, count in data.sizes.items()]
    count = int((data.train.labels != MISSING).sum())
    if count < len(data.train):
        parts[0] += f" ({count:,} labelled{', drawn anew for each seed' if data.hidden else ''})"
    if data.hidden:
        parts[1] += " (labelled, of the limit)"
    return ", ".join(parts)
