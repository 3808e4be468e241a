"""Literals that matter on data: which are cut is known by hand, and no answer changes, evaluated by the definition."""

import numpy as np
import pytest

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.simplify import cut_literals


def without(clauses, kept):
    """The set with some clauses cut, capacities never above their literals."""
    lists = [kept.get(j, clauses.clause(j)).tolist() for j in range(clauses.num_clauses)]
    capacity = [min(int(c), len(literals)) for c, literals in zip(clauses.capacity, lists, strict=True)]
    return ClauseSet.of(lists, bits=clauses.bits, capacity=capacity, votes=clauses.votes, bias=clauses.bias)


def test_the_literals_of_a_known_rule_are_kept():
    """Bits 0 and 1 decide; bit 2 is always 1, bit 3 follows bit 0: one of the two is enough, the cheaper one to lose goes."""
    rows = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]])
    clauses = ClauseSet.of([[0, 2, 3, 5]], bits=4, capacity=[1], votes=[[0, 2]], bias=[1, 0])  # 0, 2, 3 and not 1
    assert clauses.scores(rows).argmax(1).tolist() == [0, 0, 1, 0]
    kept = cut_literals(clauses, rows, [0])[0].tolist()
    assert kept in ([0, 5], [3, 5])
    assert without(clauses, {0: np.array(kept)}).scores(rows).argmax(1).tolist() == [0, 0, 1, 0]


def test_a_fuzzy_clause_allows_fewer_misses_once_it_has_fewer_literals():
    """Three literals, two of which may fail: without two of them, none of the last may, and its worth is 1, not 3."""
    rows = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    clauses = ClauseSet.of([[0, 1, 2]], bits=3, capacity=[3], votes=[[0, 1]], bias=[0, 0])
    assert clauses.scores(rows)[:, 1].tolist() == [3, 1, 0]
    kept = cut_literals(clauses, rows, [0])
    assert kept[0].tolist() == [0]  # the only one that the second row has
    assert without(clauses, kept).scores(rows)[:, 1].tolist() == [1, 1, 0]


@pytest.mark.parametrize("failures", [1, 3])
def test_cut_all_together_no_answer_changes(failures):
    """Random machines: others are cut to the last literal where one alone would have stood."""
    rng = np.random.default_rng(failures)
    rows = rng.random((300, 20)) < 0.5
    lists = [sorted(rng.choice(40, size=6, replace=False)) for _ in range(30)]
    clauses = ClauseSet.of(lists, bits=20, capacity=[failures] * 30, votes=rng.integers(-9, 10, (30, 3)))
    kept = cut_literals(clauses, rows, range(0, 30, 2))
    assert sorted(kept) == list(range(0, 30, 2))
    cut = without(clauses, kept)
    np.testing.assert_array_equal(cut.scores(rows).argmax(1), clauses.scores(rows).argmax(1))
    assert len(cut.literals) < len(clauses.literals)
    for j, literals in kept.items():
        assert set(literals) <= set(lists[j])
    j, literals = max(kept.items(), key=lambda entry: len(entry[1]))  # one that stayed does change an answer
    for literal in literals:
        fewer = {**kept, j: np.setdiff1d(literals, [literal])}
        if (without(clauses, fewer).scores(rows).argmax(1) != clauses.scores(rows).argmax(1)).any():
            return
    pytest.fail(f"no literal of clause {j} changes an answer")
