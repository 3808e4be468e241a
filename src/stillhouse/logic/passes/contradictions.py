"""A bit and its negation in one clause: one of both is always false."""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


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
        literals.append(own[~np.isin(own % clauses.bits, both)] if len(both) else own)
        capacity[j] = max(0, capacity[j] - len(both))
    return rebuilt(clauses, literals, capacity, clauses.votes)
