"""Smaller clause sets with the same answers: each pass is a function of a set, and keeps every score to the bit.

Passes of `simplify` keep the scores of *all* inputs. Two more keep those of inputs that can occur, and are asked for by name:
`ordered.ordered_bits` (levels of a thermometer) and `constant.constant_bits` (bits that never change on given data).
`pairs.common_pairs` changes no set: it is a plan for whoever builds adders.
"""

from __future__ import annotations

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.contradictions import contradictions
from stillhouse.logic.passes.dead import dead_clauses
from stillhouse.logic.passes.duplicates import duplicate_clauses
from stillhouse.logic.passes.order import order_by_planes
from stillhouse.logic.passes.report import Report, Size, size

PASSES = {
    "contradictions": contradictions,
    "duplicate clauses": duplicate_clauses,
    "dead clauses": dead_clauses,
    "order by planes": order_by_planes,
}


def simplify(clauses: ClauseSet) -> tuple[ClauseSet, Report]:
    """All passes that keep the scores of every input, in turn, and the sizes between them.

    Example:
        A clause of "bit 0 and not bit 0" with capacity 1 can never answer:

        >>> small, report = simplify(ClauseSet.of([[0, 2], [1]], bits=2, capacity=[1, 1], votes=[[5], [7]]))
        >>> small.num_clauses, report.before.clauses, report.after.clauses
        (1, 2, 1)
    """
    sizes = {"before": size(clauses)}
    for name, change in PASSES.items():
        clauses = change(clauses)
        sizes[name] = size(clauses)
    clauses.check()
    return clauses, Report(sizes)


__all__ = ["PASSES", "Report", "Size", "simplify"]
