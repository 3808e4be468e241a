"""Bits that are the same on all of some data: their literals are decided. Keeps the scores of that data, not of every input."""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


def constant_bits(clauses: ClauseSet, always: np.ndarray, never: np.ndarray) -> ClauseSet:
    """Without literals of bits that never change; those that are always false have taken their share of the capacity.

    Args:
        clauses: the set.
        always: (F) truth values: bits that are always 1.
        never: (F) bits that are always 0.

    Example:
        Bit 0 is always 0, so "bit 0" is always missed and "not bit 1" decides alone:

        >>> one = ClauseSet.of([[0, 3]], bits=2, capacity=[2], votes=[[1]])
        >>> less = constant_bits(one, np.array([False, False]), np.array([True, False]))
        >>> less.literals.tolist(), less.capacity.tolist()
        ([3], [1])
    """
    false = np.concatenate([never, always])
    true = np.concatenate([always, never])
    literals, capacity = [], clauses.capacity.copy()
    for j in range(clauses.num_clauses):
        own = clauses.clause(j)
        capacity[j] = max(0, capacity[j] - int(false[own].sum()))
        literals.append(own[~(false | true)[own]])
    return rebuilt(clauses, literals, capacity, clauses.votes)
