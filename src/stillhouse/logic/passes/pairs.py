"""Pairs of literals that several clauses have: added once, for whoever builds adders or gates. A plan, the set stays as it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Which pairs are made once, and what of them and of single literals each clause adds.

    Attributes:
        pairs: (P, 2) int32 literals; a half adder each: the sum is a xor b, the carry a and b.
        of_clause: for each clause the pairs that it takes.
        single: for each clause the literals that are in none of them.
    """

    pairs: np.ndarray
    of_clause: list[list[int]]
    single: list[list[int]]

    @property
    def saved(self) -> int:
        """Half adders that need not be built: every use of a pair but its first."""
        return sum(map(len, self.of_clause)) - len(self.pairs)


def common_pairs(clauses: ClauseSet, most: int = 4096, longest: int = 128) -> Pairs:
    """Greedily the pairs that most clauses share; a literal is in one pair of a clause at most.

    Args:
        clauses: the set.
        most: pairs at most.
        longest: longer clauses take no part, since their pairs are too many to count.

    Example:
        >>> three = ClauseSet.of([[0, 1, 2], [0, 1, 3], [0, 1]], bits=4, capacity=[1] * 3, votes=[[1]] * 3)
        >>> plan = common_pairs(three)
        >>> plan.pairs.tolist(), plan.single, plan.saved
        ([[0, 1]], [[2], [3], []], 2)
    """
    left = [set(clauses.clause(j).tolist()) for j in range(clauses.num_clauses)]
    users: dict[tuple[int, int], list[int]] = {}
    count: Counter[tuple[int, int]] = Counter()
    for j, own in enumerate(left):
        if len(own) <= longest:
            for pair in combinations(sorted(own), 2):
                users.setdefault(pair, []).append(j)
                count[pair] += 1
    pairs: list[tuple[int, int]] = []
    of_clause: list[list[int]] = [[] for _ in left]
    for pair, times in count.most_common():
        if times < 2 or len(pairs) == most:
            break
        takers = [j for j in users[pair] if left[j].issuperset(pair)]
        if len(takers) < 2:  # others took its literals
            continue
        for j in takers:
            left[j].difference_update(pair)
            of_clause[j].append(len(pairs))
        pairs.append(pair)
    return Pairs(np.array(pairs, dtype=np.int32).reshape(-1, 2), of_clause, [sorted(own) for own in left])
