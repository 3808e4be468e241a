"""What a clause set consists of, before and after each pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stillhouse.logic.clause_set import ClauseSet


@dataclass(frozen=True, slots=True)
class Size:
    """Clauses, literals of all of them, different literals, votes that are not 0."""

    clauses: int
    literals: int
    planes: int
    votes: int


def size(clauses: ClauseSet) -> Size:
    """The size of a set."""
    return Size(
        clauses.num_clauses,
        len(clauses.literals),
        len(np.unique(clauses.literals)),
        int(np.count_nonzero(clauses.votes)),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """Sizes by pass, the first under "before"."""

    sizes: dict[str, Size]

    @property
    def before(self) -> Size:
        """As it came."""
        return self.sizes["before"]

    @property
    def after(self) -> Size:
        """As it went."""
        return list(self.sizes.values())[-1]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: asdict(entry) for name, entry in self.sizes.items()}
