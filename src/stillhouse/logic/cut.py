"""Which literals of a clause matter: those without which an answer changes on data. Others are cut away.

Shapes: M rows, F bits, K outputs, N literals of one clause.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from stillhouse.logic.clause_set import ClauseSet

L = TypeVar("L", bound=Hashable)


def cut_literals(clauses: ClauseSet, bits: np.ndarray, chosen: Sequence[int]) -> dict[int, np.ndarray]:
    """The literals of the chosen clauses that cannot be removed, all cuts together, without changing an answer on data.

    Greedy: the literal that changes the clause on the fewest rows goes first, every removal is checked on all rows, and what
    stays is tried once more when all others have been. A clause that has fewer literals left than misses it allowed allows fewer:
    its capacity is never above its number of literals.

    Args:
        clauses: all clauses of the machine, since others may make up for a literal.
        bits: (M, F) rows of 0 and 1.
        chosen: the clauses that are cut.

    Returns:
        By clause, the literals that are kept, ascending.

    Example:
        Two classes; bit 1 is always 1, so the clause "bit 0 and bit 1" needs bit 0 alone:

        >>> one = ClauseSet.of([[0, 1]], bits=2, capacity=[1], votes=[[-1, 1]], bias=[0, -0])
        >>> cut_literals(one, np.array([[0, 1], [1, 1]]), [0])[0].tolist()
        [0]
    """
    scores = clauses.scores(bits)
    answers = scores.argmax(1)
    missed = {j: missed_literals(bits, clauses.clause(j)) for j in chosen}
    kept = {j: np.ones(missed[j].shape[1], dtype=bool) for j in missed}
    full = {j: int(clauses.capacity[j]) for j in missed}
    misses = {j: missed[j].sum(1) for j in missed}
    value = {j: np.maximum(full[j] - misses[j], 0) for j in missed}
    order = sorted(
        ((effect, j, place) for j in missed for place, effect in enumerate(effects(missed[j], full[j]))),
        key=lambda entry: entry[0],
    )
    for _ in range(2):
        for _, j, place in order:
            if not kept[j][place]:
                continue
            fewer = misses[j] - missed[j][:, place]
            now = np.maximum(min(full[j], int(kept[j].sum()) - 1) - fewer, 0)
            rows = np.flatnonzero(now != value[j])
            moved = scores[rows] + (now - value[j])[rows, None] * clauses.votes[j].astype(np.int64)
            if (moved.argmax(1) == answers[rows]).all():
                kept[j][place] = False
                scores[rows], value[j], misses[j] = moved, now, fewer
    return {j: clauses.clause(j)[kept[j]] for j in missed}


def missed_literals(bits: np.ndarray, literals: np.ndarray) -> np.ndarray:
    """(M, N) whether a literal is false."""
    wanted = literals < bits.shape[1]
    return np.asarray((bits[:, literals % bits.shape[1]] != 0) != wanted)


def effects(missed: np.ndarray, full: int) -> np.ndarray:
    """(N) on how many rows the clause's worth changes without a literal, weighed by how much."""
    count = missed.shape[1]
    misses = missed.sum(1)
    before = np.maximum(min(full, count) - misses, 0)
    after = np.maximum(min(full, count - 1) - (misses[:, None] - missed), 0)
    return np.asarray(np.abs(after - before[:, None]).sum(0))


def cut_by_trials(order: Sequence[L], unchanged: Callable[[Sequence[L]], bool], trials: int) -> list[L]:
    """What can be removed from a network that can only be asked as a whole: groups are tried, and halved where they fail.

    Args:
        order: everything that may be removed, what matters least first.
        unchanged: whether all answers stay with these removed, and those that were removed before.
        trials: how often it may be asked; what was not tried by then is kept.

    Returns:
        What is removed.

    Example:
        >>> cut_by_trials("abcd", lambda gone: "c" not in gone, trials=10)
        ['a', 'b', 'd']
    """
    removed: list[L] = []
    groups: list[Sequence[L]] = [order]
    while groups and trials > 0:
        group = groups.pop()
        if not len(group):
            continue
        trials -= 1
        if unchanged([*removed, *group]):
            removed.extend(group)
        elif len(group) > 1:
            half = len(group) // 2
            groups += [group[half:], group[:half]]  # what matters least is tried first
    return removed
