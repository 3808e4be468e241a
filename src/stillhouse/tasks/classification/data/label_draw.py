"""A few labels of many: which rows keep theirs is drawn anew for each seed, and all others are hidden.

Legend: N rows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.classification.data.split import Part

D = TypeVar("D")


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


def limit_labels(data: D, limit: int | None, fraction: float, seed: int) -> D:
    """Data with at most so many labels for training and validation together, drawn for seed 0; see `drawn`.

    Validation rows are labelled rows: they count among the limit. Validation rows that are not drawn are left out.

    Args:
        data: `ImageData` or `TextData`.
        limit: labels; None, or as many as there are: the data as they are.
        fraction: share of them that goes to validation, at least one.
        seed: of the splits.

    Raises:
        InputError: fewer than one label a class to learn from.
    """
    whole: Any = data
    labels = whole.train.labels
    there = int((labels != MISSING).sum())
    if limit is None or limit >= there + len(whole.validation):
        return data
    validating = min(len(whole.validation), max(1, round(limit * fraction)))
    classes = len(torch.unique(labels[labels != MISSING]))
    if limit - validating < classes:
        raise InputError(
            f"data.label_limit: expected at least {classes + validating} (one for each of {classes} classes, and {validating} for "
            f"validation), got {limit}"
        )
    hidden = Hidden(whole.train, whole.validation, min(there, limit - validating), validating, seed)
    return drawn(replace(whole, hidden=hidden), 0)


def drawn(data: D, seed: int) -> D:
    """The data as one seed of a run sees them: its own labelled rows, classes in proportion, and no other label.

    Args:
        data: `ImageData` or `TextData`; without a limit they are the same for every seed.
        seed: of the run.
    """
    whole: Any = data
    hidden: Hidden | None = getattr(whole, "hidden", None)
    if hidden is None:
        return data
    draw = 1_000_003 * (hidden.seed + 1) + seed
    labels = hidden.train.labels
    there = np.flatnonzero(labels.numpy() != MISSING)
    kept = torch.from_numpy(there[sample_rows(len(there), hidden.training, labels=labels.numpy()[there], seed=draw)])
    shown = torch.full_like(labels, MISSING).index_copy(0, kept, labels.index_select(0, kept))
    held = hidden.validation
    rows = torch.from_numpy(sample_rows(len(held), hidden.validating, labels=held.labels.numpy(), seed=draw))
    return replace(whole, train=replace(hidden.train, labels=shown), validation=Part(held, rows))


def whole_splits(data: Any) -> dict[str, Any]:
    """Every split with all its rows and labels, for a fingerprint of the data that is the same for every seed."""
    hidden: Hidden | None = getattr(data, "hidden", None)
    first = data if hidden is None else hidden
    return {"train": first.train, "validation": first.validation, "test": data.test}


def labelled_rows(split: Any) -> Any:
    """The rows of a split that have a label; the split itself where all have.

    Example:
        >>> from stillhouse.tasks.classification.data import ImageSplit
        >>> split = ImageSplit(torch.zeros(3, 1, 2, 2), torch.tensor([1, -1, 0]))
        >>> labelled_rows(split).labels.tolist()
        [1, 0]
    """
    there = split.labels != MISSING
    return split if bool(there.all()) else Part(split, torch.nonzero(there).flatten())


def described(data: Any) -> str:
    """How many rows each split has, and how many of the training rows have a label.

    Example:
        >>> from stillhouse.tasks.classification.data import DataConfig
        >>> described(DataConfig(label_limit=100).build())
        '970 train (90 labelled, drawn anew for each seed), 10 validation (labelled, of the limit), 719 test'
    """
    parts = [f"{count:,} {split}" for split, count in data.sizes.items()]
    count = int((data.train.labels != MISSING).sum())
    limited = getattr(data, "hidden", None) is not None
    if count < len(data.train):
        parts[0] += f" ({count:,} labelled{', drawn anew for each seed' if limited else ''})"
    if limited:
        parts[1] += " (labelled, of the limit)"
    return ", ".join(parts)
