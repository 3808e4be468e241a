"""Smaller clause sets with the same answers: `simplify` keeps every score of every input, `cut_literals` the answers on data.

Shapes: M rows, F bits, K outputs, N literals of one clause.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillhouse.logic.clause_set import ClauseSet


def simplify(clauses: ClauseSet) -> ClauseSet:
    """Without clauses that can never answer or have no votes, those that are equal joined, constants in the bias.

    Both literals of a bit in a clause are exactly one miss: they go, and the capacity is one less. Clauses of equal literals
    with different capacities stay apart: `max(0, a - m)` and `max(0, b - m)` are no multiples of each other.

    Example:
        A clause of "bit 0 and not bit 0" with capacity 1 can never answer; two clauses are one of votes 3 + 4:

        >>> less = simplify(ClauseSet.of([[0, 2], [1], [1]], bits=2, capacity=[1, 1, 1], votes=[[5], [3], [4]]))
        >>> less.num_clauses, less.votes.tolist()
        (1, [[7]])
    """
    kept: dict[tuple[tuple[int, ...], int], np.ndarray] = {}
    bias = clauses.bias.copy()
    for j in range(clauses.num_clauses):
        own, votes = clauses.clause(j), clauses.votes[j].astype(np.int64)
        both = own[np.isin(own + clauses.bits, own)]
        literals = own[~np.isin(own % clauses.bits, both)]
        capacity = int(clauses.capacity[j]) - len(both)
        if capacity > 0 and not len(literals):
            bias += capacity * votes
        elif capacity > 0 and votes.any():
            key = tuple(literals.tolist()), capacity
            kept[key] = kept.get(key, 0) + votes  # within 31 bits, as any score is
    return ClauseSet.of(
        [literals for literals, _ in kept],
        bits=clauses.bits,
        capacity=[capacity for _, capacity in kept],
        votes=np.array([*kept.values()]).reshape(-1, clauses.outputs),
        bias=bias,
        scale=clauses.scale,
    )


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
