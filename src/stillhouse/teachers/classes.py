"""Whose class is which: a teacher's scores in the order of the data's classes, by name or as found.

Shapes: N samples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillhouse.core.checks import InputError, nearest

CLEARLY = 0.1  # of the accuracy: an assignment is reported where it gains so much on rows that did not choose it


def order_of(theirs: Sequence[str], ours: Sequence[str]) -> list[int]:
    """(K) which of the teacher's scores belongs to each class of the data.

    Example:
        >>> order_of(["zebra", "Ape", "bear"], ["ape", "bear", "zebra"])
        [1, 2, 0]

    Raises:
        InputError: a class of the data that the teacher does not name, or a name that stands twice.
    """
    names = [str(name).strip().casefold() for name in theirs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"teacher.classes: {twice!r} stands twice; expected each name once")
    lost = [str(name) for name in ours if str(name).strip().casefold() not in names]
    if lost:
        raise InputError(
            f"teacher.classes: expected the data's classes among them, in the teacher's order; {len(lost)} of {len(ours)} "
            f"are not named: {', '.join(lost[:5])}; {nearest(lost[0], theirs)}"
        )
    return [names.index(str(name).strip().casefold()) for name in ours]


def permutation(answers: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, float] | None:
    """(K) the class that each answer stands for, and the accuracy then, where answers fit the labels only after that.

    It is found on every other row, by the assignment that makes most of them right, and judged on the rows between.

    Args:
        answers: (N) predicted classes.
        labels: (N).
        classes: K.

    Returns:
        None where the answers are right as they are, or no assignment is clearly better.

    Source: Kuhn 1955 (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment

    from stillhouse.teachers.readiness import wilson_low

    mixed = np.random.default_rng(0).permutation(len(labels))  # rows may lie class by class
    find, judge = mixed[::2], mixed[1::2]
    if len(judge) == 0:
        return None
    counts = np.zeros((classes, classes))
    np.add.at(counts, (answers[find], labels[find]), 1.0)
    stands_for = linear_sum_assignment(counts + 1e-6 * np.eye(classes), maximize=True)[1]  # in doubt, as it is
    plain = float((answers[judge] == labels[judge]).mean())
    after = float((stands_for[answers[judge]] == labels[judge]).mean())
    if after < plain + CLEARLY or wilson_low(after, len(judge)) <= plain:
        return None
    return stands_for, float((stands_for[answers] == labels).mean())


def in_words(stands_for: np.ndarray, accuracy: float, names: Sequence[str], order: Sequence[int] | None = None) -> str:
    """What a user must know of a permutation, and what to write down.

    Args:
        stands_for: (K) the class that each answer stands for.
        accuracy: with these classes.
        names: (K) of the data's classes.
        order: which of the teacher's scores each class has already, where `teacher.classes` was given.

    Example:
        >>> print(in_words(np.array([1, 0, 2]), 0.85, ["ape", "bear", "cat"]))
        your predictions fit the labels after a permutation (85.00 % then): 0->1, 1->0; name the teacher's classes in its order: \
teacher.classes=[bear, ape, cat]
    """
    moved = [f"{i}->{j}" for i, j in enumerate(stands_for) if i != j]
    shown = ", ".join(moved[:12]) + (", ..." if len(moved) > 12 else "")
    places = range(len(stands_for)) if order is None else np.argsort(order)  # as the network's scores come
    theirs = ", ".join(str(names[stands_for[i]]) for i in places[:100])
    return (
        f"your predictions fit the labels after a permutation ({accuracy:.2%} then): ".replace("%", " %")
        + f"{shown}; name the teacher's classes in its order: teacher.classes=[{theirs}]"
    )
