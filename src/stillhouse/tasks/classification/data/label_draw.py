"""A few labels of many: which rows keep theirs is drawn anew for each seed, and all others are hidden.

Legend: N rows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.classification.data.split import Part


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


def described(data: Any) -> str:
    """How many rows each split has, and how many of the training rows have a label.

    Example:
        >>> from stillhouse.tasks.classification.data import DataConfig
        >>> described(DataConfig(label_limit=100).build())
        '970 train (90 labelled, drawn anew for each seed), 10 validation (labelled, of the limit), 719 test'
    """
    parts = [f"{count:,} {split}" for split, count in data.sizes.items()]
    count = int((data.train.labels != MISSING).sum())
    if count < len(data.train):
        parts[0] += f" ({count:,} labelled{', drawn anew for each seed' if data.hidden else ''})"
    if data.hidden:
        parts[1] += " (labelled, of the limit)"
    return ", ".join(parts)
