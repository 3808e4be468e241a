"""Smaller clause sets with the same answers: `simplify` keeps every score of every input, `cut_literals` the answers on data.

Shapes: M rows, F bits, K outputs, N literals of one clause.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillhouse.logic.clause_set import ClauseSet


def simplify(clauses: ClauseSet) -> ClauseSet:
    """All passes in turn.

    Example:
        A clause of "bit 0 and not bit 0" with capacity 1 can never answer:

        >>> simplify(ClauseSet.of([[0, 2], [1]], bits=2, capacity=[1, 1], votes=[[5], [7]])).num_clauses
        1
    """
    for one in PASSES:
        clauses = one(clauses)
    return clauses


def contradictions(clauses: ClauseSet) -> ClauseSet:
    """Both literals of a bit in a clause are exactly one miss: they go, and the capacity is one less (at least 0).

    Example:
        >>> one = ClauseSet.of([[0, 1, 2]], bits=2, capacity=[2], votes=[[1]])  # bit 0, bit 1, not bit 0
        >>> less = contradictions(one)
        >>> less.literals.tolist(), less.capacity.tolist()
        ([1], [1])
    """
    literals, capacity = [], clauses.capacity.copy()
    for j in range(clauses.num_clauses):
        own = clauses.clause(j)
        both = np.intersect1d(own[own < clauses.bits], own[own >= clauses.bits] - clauses.bits)
        literals.append(own[~np.isin(own % clauses.bits, both)])
        capacity[j] = max(0, capacity[j] - len(both))
    return _rebuilt(clauses, literals, capacity, clauses.votes, clauses.bias)


def duplicate_clauses(clauses: ClauseSet) -> ClauseSet:
    """Clauses of equal literals and capacity become one, with the sum of their votes.

    Equal literals with different capacities stay apart: `max(0, a - m)` and `max(0, b - m)` are no multiples of each other. A sum
    of votes that would leave 32 bits is not made.

    Example:
        >>> two = ClauseSet.of([[0, 1], [0, 1]], bits=2, capacity=[1, 1], votes=[[3], [4]])
        >>> duplicate_clauses(two).votes.tolist()
        [[7]]
    """
    places: dict[tuple[bytes, int], int] = {}
    chosen: list[int] = []
    votes: list[np.ndarray] = []
    for j in range(clauses.num_clauses):
        key = (clauses.clause(j).tobytes(), int(clauses.capacity[j]))
        own = clauses.votes[j].astype(np.int64)
        place = places.setdefault(key, len(chosen))
        if place < len(chosen) and np.abs(votes[place] + own).max(initial=0) < 2**31:
            votes[place] = votes[place] + own
            continue
        places[key] = len(chosen)
        chosen.append(j)
        votes.append(own)
    return _rebuilt(
        clauses, [clauses.clause(j) for j in chosen], clauses.capacity[chosen], np.array(votes), clauses.bias
    )


def dead_clauses(clauses: ClauseSet) -> ClauseSet:
    """Without clauses that have no votes or no capacity; one without literals is a constant and goes into the bias.

    Example:
        >>> one = ClauseSet.of([[], [0]], bits=1, capacity=[2, 0], votes=[[3], [9]])
        >>> less = dead_clauses(one)
        >>> less.num_clauses, less.bias.tolist()
        (0, [6])
    """
    empty = np.diff(clauses.starts) == 0
    always = (clauses.capacity * empty).astype(np.int64) @ clauses.votes.astype(np.int64)
    keep = np.flatnonzero((clauses.capacity > 0) & clauses.votes.any(1) & ~empty)
    bias = clauses.bias + always
    return _rebuilt(clauses, [clauses.clause(j) for j in keep], clauses.capacity[keep], clauses.votes[keep], bias)


PASSES = (contradictions, duplicate_clauses, dead_clauses)


def _rebuilt(
    clauses: ClauseSet, literals: Sequence[np.ndarray], capacity: np.ndarray, votes: np.ndarray, bias: np.ndarray
) -> ClauseSet:
    """The same bits and scale, other clauses."""
    votes = votes.reshape(len(literals), clauses.outputs)
    return ClauseSet.of(literals, bits=clauses.bits, capacity=capacity, votes=votes, bias=bias, scale=clauses.scale)


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
