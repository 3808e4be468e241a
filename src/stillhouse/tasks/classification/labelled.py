"""Training rows of which some have no label: in which order they come, and what of a batch the labels act on.

Legend: B batch, N rows, L labelled rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.tasks.classification.plan import SELF
from stillhouse.teachers.by_row import UNEQUAL
from stillhouse.training.job import epoch_order

SURE = 0.9  # probability from which a model's answer is taken for a label


def check_missing(config: Any, labels: Tensor) -> None:
    """Refuse what a run cannot do with training rows of which some have no label, or does with nothing else.

    Args:
        config: of the run.
        labels: (N) of its training rows.

    Raises:
        InputError: the first such setting.
    """
    if bool((labels != MISSING).all()):
        if SELF in config.arms:
            raise InputError(
                f"arms: {SELF!r} labels rows without a label, and every training row has one; leave it out"
            )
        return
    stages = config.stages_of(True)
    if any(signal.kind == "time-steps" and signal.reads_labels for stage in stages for signal in stage.signals):
        raise InputError("signals (time-steps): label_weight needs a label in every training row; leave it out")
    if config.training.mixing.on:
        raise InputError(
            "training.mixing: mixed images need two labels, and some training rows have none; leave it out"
        )
    if config.curriculum is not None:
        raise InputError("curriculum: ranks training rows by their labels, and some have none; leave it out")


def own_labels(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Labels, and where there is none the class that a model is sure of.

    Args:
        labels: (N) class numbers, -1 where there is none.
        probabilities: (N, K) of the model.

    Returns:
        (N); -1 where its probability is below `SURE`.

    Example:
        >>> own_labels(torch.tensor([1, -1, -1]), torch.tensor([[1.0, 0.0], [0.95, 0.05], [0.6, 0.4]])).tolist()
        [1, 0, -1]

    Source: Lee 2013, Pseudo-label, ICML workshop on challenges in representation learning.
    """
    share, answer = probabilities.max(1)
    return torch.where((labels == MISSING) & (share >= SURE), answer, labels)


def slots(labels: Tensor, batch_size: int, share: float) -> int:
    """How many rows of a batch have a label: the share that is asked for, where fewer rows than that have one.

    Args:
        labels: (N) class numbers, -1 where there is none.
        batch_size: rows of a batch.
        share: of it that should have a label, in [0, 1].

    Returns:
        1 to min(L, batch_size - 1); 0 where the rows come as they are: all have a label, or the share is met without this.

    Example:
        Two of eight rows have a label; of a batch of four a half is wanted.

        >>> slots(torch.tensor([0, 1, -1, -1, -1, -1, -1, -1]), 4, 0.5)
        2
    """
    there = int((labels != MISSING).sum())
    if there in (0, len(labels)) or batch_size < 2 or there / len(labels) >= share:
        return 0
    return max(1, min(round(share * batch_size), there, batch_size - 1))


def mixed_order(labels: Tensor, batch_size: int, count: int, seed: int, epoch: int) -> Tensor:
    """The rows of an epoch, `count` of each `batch_size` consecutive ones labelled, spread evenly.

    Labelled and unlabelled rows are each taken in turns of a shuffle of their own, which goes on from epoch to epoch: every row
    comes as often as any other of its kind, but for one. A function of its arguments alone, so that a resumed run repeats it.

    Args:
        labels: (N) class numbers, -1 where there is none.
        batch_size: rows of a batch.
        count: of `slots`, above 0.
        seed: decides the shuffles.
        epoch: from 0.

    Returns:
        (N) row numbers; a labelled row may come several times.

    Example:
        >>> labels = torch.tensor([0, 1, -1, -1, -1, -1, -1, -1])
        >>> (labels[mixed_order(labels, 4, 2, seed=0, epoch=0)] >= 0).tolist()
        [False, True, False, True, False, True, False, True]
    """
    place = epoch * len(labels) + torch.arange(len(labels) + 1)
    done = place * count // batch_size  # labelled rows before each place
    labelled = done[1:] > done[:-1]
    there = labels != MISSING
    mine = _in_turns(torch.nonzero(there).flatten(), done[:-1][labelled], 2 * seed)
    others = _in_turns(torch.nonzero(~there).flatten(), (place - done)[:-1][~labelled], 2 * seed + 1)
    return torch.empty(len(labels), dtype=torch.int64).masked_scatter(labelled, mine).masked_scatter(~labelled, others)


def class_weights(labels: Tensor, num_classes: int, balanced: bool | None) -> Tensor | None:
    """What a labelled row of each class counts, so that all classes count alike; their mean over those rows is 1.

    Args:
        labels: (N) class numbers, -1 where there is none.
        num_classes: K.
        balanced: None: where the largest class has 1.5 times the rows of the smallest, or more.

    Returns:
        (K); None where every row counts the same.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1, -1]), 2, None).tolist()
        [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(labels[labels != MISSING], minlength=num_classes)
    there = counts[counts > 0]
    if balanced is False or not len(there) or (balanced is None and there.max() < UNEQUAL * there.min()):
        return None
    return counts.sum() / (len(there) * counts.clamp(min=1))


def _in_turns(rows: Tensor, places: Tensor, seed: int) -> Tensor:
    """The rows at some places of an endless row of shuffles."""
    if not len(places):
        return places
    turn, within = places // len(rows), places % len(rows)
    first, last = int(turn[0]), int(turn[-1])
    shuffles = torch.stack([epoch_order(len(rows), seed, number) for number in range(first, last + 1)])
    return rows[shuffles[turn - first, within]]
