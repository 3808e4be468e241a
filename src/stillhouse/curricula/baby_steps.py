"""Nested subsets from easy to hard (or the controls of it), and orders of exactly N rows drawn from them. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError

Order = Literal["easy-first", "hard-first", "random", "none"]
Rows = NDArray[np.int64]


def rows_in_order(difficulty: ArrayLike, order: Order, *, seed: int) -> Rows:
    """Row numbers as a curriculum takes them up; samples of equal difficulty in an order that the seed decides.

    (By row number, equal samples of a data set that is sorted by class would come class by class.)

    Args:
        difficulty: (N,) scores, high is hard.
        order: "easy-first"; its controls "hard-first" (the exact reverse) and "random"; "none" is the rows as they are.
        seed: for equal samples and for the random order.

    Returns:
        (N,) every row once.

    Example:
        >>> rows_in_order([0.9, 0.1, 0.5], "easy-first", seed=0).tolist()
        [1, 2, 0]
    """
    scores = np.asarray(difficulty, dtype=np.float64)
    if order == "none":
        return np.arange(len(scores), dtype=np.int64)
    shuffled = np.random.default_rng([seed, 0]).permutation(len(scores))
    if order == "random":
        return shuffled.astype(np.int64)
    easy_first = np.lexsort((shuffled, scores)).astype(np.int64)
    return easy_first if order == "easy-first" else easy_first[::-1].copy()


def balanced_over_classes(order: Rows, labels: ArrayLike) -> Rows:
    """The same rows, such that any first part holds each class in its share, the order inside a class kept.

    The i-th of a class with n rows is placed at i / n: the first of every class comes before any second one, and the first
    fraction f holds ceil(f n) of each class, give or take one. Without this an easy subset may hold no row of a hard class.

    Args:
        order: (N,) row numbers.
        labels: (N,) class of each row, by row number.

    Returns:
        (N,) the rows in the new order.

    Example:
        Four rows of class 0 are easier than two of class 1; half of each comes in the first half.

        >>> balanced_over_classes(np.arange(6), [0, 0, 0, 0, 1, 1]).tolist()
        [0, 4, 1, 2, 5, 3]
    """
    classes = np.asarray(labels)[order]
    place = np.empty(len(order))
    for one in np.unique(classes):
        members = np.flatnonzero(classes == one)
        place[members] = np.arange(len(members)) / len(members)
    return order[np.argsort(place, kind="stable")]


def nested_subsets(order: ArrayLike, shares: Sequence[float]) -> list[Rows]:
    """The first parts of an order, each holding the one before; the last takes all that remains.

    Args:
        order: (N,) row numbers, first to be learned first.
        shares: rising, the last is 1.

    Returns:
        One array of row numbers for each share, of round(share N) rows, at least 1.

    Raises:
        InputError: no rows, shares that do not rise, or whose last is not 1.

    Example:
        >>> [len(s) for s in nested_subsets(np.arange(10), (0.25, 0.5, 0.75, 1.0))]
        [2, 5, 8, 10]

    Source: Bengio et al. 2009 (ICML); the name and the cumulative stages: Spitkovsky et al. 2010 (NAACL), section 4.
    """
    rows = np.asarray(order, dtype=np.int64)
    check_shares(shares)
    if rows.ndim != 1 or not rows.size:
        raise InputError(f"order: expected (N,) with at least one row, got shape {rows.shape}")
    sizes = [max(1, round(share * len(rows))) for share in shares[:-1]]
    return [rows[:size] for size in [*sizes, len(rows)]]


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that do not rise from above 0 to exactly 1.

    Raises:
        InputError: with what came.
    """
    if not shares or shares[-1] != 1.0 or shares[0] <= 0 or any(b <= a for a, b in pairwise(shares)):
        raise InputError(
            f"shares: expected numbers above 0 that rise to 1.0 (all data in the last stage), got {tuple(shares)}"
        )


def draw(subset: Rows, others: Rows, *, replay: float, epoch: int, seed: Sequence[int]) -> Rows:
    """The rows of one epoch: as many as there are in all, from the subset, with a floor for the rest.

    round(replay N) of them come from `others`, at least one and never more than each once, so that what is left out is
    neither forgotten nor never met: with r of them in an epoch, each comes up in any 2 ceil(M / r) epochs. The rest of the epoch
    is the subset, reshuffled and repeated. Both go on from epoch to epoch where they stopped: counted from epoch 0, no row of
    a kind is ever ahead of another by more than one.

    Args:
        subset: rows of the stage.
        others: (M,) all other rows, possibly none.
        replay: share of the epoch kept for them, in [0, 1); 0 leaves them out.
        epoch: from 0; together with the seed it decides everything.
        seed: numbers from 0, as of the curriculum and of the stage.

    Returns:
        (N,) row numbers, N = len(subset) + len(others), in random order.

    Example:
        >>> sorted(draw(np.array([4, 7]), np.array([0, 1, 2, 3, 5, 6]), replay=0.0, epoch=0, seed=(1, 0)).tolist())
        [4, 4, 4, 4, 7, 7, 7, 7]
    """
    total = len(subset) + len(others)
    floor = min(len(others), max(1, round(replay * total))) if replay > 0 and len(others) else 0
    taken = [
        _stream(subset, start=epoch * (total - floor), count=total - floor, seed=(*seed, 1)),
        _stream(others, start=epoch * floor, count=floor, seed=(*seed, 2)),
    ]
    rows: Rows = np.random.default_rng([*seed, 3, epoch]).permutation(np.concatenate(taken))
    return rows


def _stream(rows: Rows, *, start: int, count: int, seed: Sequence[int]) -> Rows:
    """`count` entries from place `start` of an endless list: one shuffle of `rows` after another."""
    if count == 0:
        return rows[:0]
    size = len(rows)
    first, last = start // size, math.ceil((start + count) / size)
    cycles = [np.random.default_rng([*seed, cycle]).permutation(rows) for cycle in range(first, last)]
    joined: Rows = np.concatenate(cycles)
    return joined[start - first * size : start - first * size + count]
