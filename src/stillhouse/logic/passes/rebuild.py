"""A clause set from parts that a pass has chosen or changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillhouse.logic.clause_set import ClauseSet


def rebuilt(
    clauses: ClauseSet,
    literals: Sequence[np.ndarray],
    capacity: np.ndarray,
    votes: np.ndarray,
    bias: np.ndarray | None = None,
) -> ClauseSet:
    """The same bits and scale, other clauses."""
    return ClauseSet.of(
        literals,
        bits=clauses.bits,
        capacity=capacity,
        votes=np.asarray(votes).reshape(len(literals), clauses.outputs),
        bias=clauses.bias if bias is None else bias,
        scale=clauses.scale,
    )
