"""Clauses that no input lets speak, or whose word counts for nothing."""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


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
    return rebuilt(
        clauses, [clauses.clause(j) for j in keep], clauses.capacity[keep], clauses.votes[keep], clauses.bias + always
    )
