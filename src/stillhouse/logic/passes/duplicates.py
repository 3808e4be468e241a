"""Clauses that ask for the same."""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


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
    table = np.array(votes, dtype=np.int64).reshape(len(chosen), clauses.outputs)
    return rebuilt(clauses, [clauses.clause(j) for j in chosen], clauses.capacity[chosen], table)
