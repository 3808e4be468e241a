"""Levels of a thermometer are ordered: a value above a high edge is above every lower one. What follows for clauses.

In a crisp clause (capacity 1) a literal that another one implies says nothing new and goes. In a fuzzy one it counts: with
"above 1/4" and "above 3/4" of one pixel, a dark pixel is two misses and a middling one is one, so neither can go. Whatever the
capacity: a clause that wants a value above a high edge and not above a lower one has a miss in every input; where such misses use
up the capacity it is dead. (With capacity left it stays as it is: how many more misses there are depends on the input.)
"""

from __future__ import annotations

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.rebuild import rebuilt


def ordered_bits(clauses: ClauseSet, values: int) -> ClauseSet:
    """Keeps the scores of all bits that a thermometer can give.

    Args:
        clauses: the set; bit l P + p is whether value p is above edge l.
        values: P.

    Example:
        Crisp: "above the higher edge" implies "above the lower one"; fuzzy clauses stay as they are.

        >>> make = lambda lf: ClauseSet.of([[0, 1]], bits=2, capacity=[lf], votes=[[1]])
        >>> ordered_bits(make(1), 1).literals.tolist(), ordered_bits(make(2), 1).literals.tolist()
        ([1], [0, 1])
    """
    bits, literals, capacity = clauses.bits, [], clauses.capacity.copy()
    for j in range(clauses.num_clauses):
        own = clauses.clause(j)
        highest: dict[int, int] = {}  # of a value: the highest edge it must be above
        lowest: dict[int, int] = {}  # the lowest edge it must not be above
        for literal in own.tolist():
            level, value = divmod(literal % bits, values)
            if literal < bits:
                highest[value] = max(highest.get(value, level), level)
            else:
                lowest[value] = min(lowest.get(value, level), level)
        # above a high edge and not above a lower one, or the same: at least one miss, in every input
        capacity[j] = capacity[j] if _misses(highest, lowest) < capacity[j] else 0
        if capacity[j] == 1:
            kept = [level * values + value for value, level in highest.items()]
            kept += [bits + level * values + value for value, level in lowest.items()]
            own = np.array(sorted(kept), dtype=np.int32)
        literals.append(own)
    return rebuilt(clauses, literals, capacity, clauses.votes)


def _misses(highest: dict[int, int], lowest: dict[int, int]) -> int:
    """Misses that no input avoids: one for every value whose wishes exclude each other."""
    return sum(value in lowest and lowest[value] <= level for value, level in highest.items())
