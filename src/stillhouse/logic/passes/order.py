"""Clauses beside each other that read the same planes, so that these are still in the nearest cache."""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


def order_by_planes(clauses: ClauseSet) -> ClauseSet:
    """The same clauses, sorted by the middle of the bits that they read; sums do not depend on the order.

    Example:
        >>> two = ClauseSet.of([[8, 9], [0, 1]], bits=10, capacity=[1, 1], votes=[[3], [4]])
        >>> order_by_planes(two).votes.tolist()
        [[4], [3]]
    """
    middles = [
        np.median(own % clauses.bits) if len(own) else -1.0 for own in map(clauses.clause, range(clauses.num_clauses))
    ]
    order = np.argsort(middles, kind="stable")
    return rebuilt(clauses, [clauses.clause(j) for j in order], clauses.capacity[order], clauses.votes[order])
