"""Passes keep every score: shown on all inputs of few bits, so on no sample."""

import numpy as np
import pytest
from conftest_logic import random_set
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes import PASSES, simplify
from stillhouse.logic.passes.constant import constant_bits
from stillhouse.logic.passes.ordered import ordered_bits
from stillhouse.logic.passes.pairs import common_pairs

small_sets = st.builds(
    random_set,
    st.integers(0, 2**32 - 1),
    bits=st.integers(1, 6),
    clauses=st.integers(1, 20),
    failures=st.integers(1, 5),
    outputs=st.integers(1, 3),
)


def every_input(bits):
    return (np.arange(2**bits)[:, None] >> np.arange(bits) & 1).astype(bool)


@settings(max_examples=60, deadline=None)
@given(clauses=small_sets)
def test_no_pass_changes_a_score(clauses):
    rows = every_input(clauses.bits)
    for change in PASSES.values():
        changed = change(clauses)
        changed.check()
        np.testing.assert_array_equal(changed.scores(rows), clauses.scores(rows))
    small, report = simplify(clauses)
    np.testing.assert_array_equal(small.scores(rows), clauses.scores(rows))
    assert report.after.clauses == small.num_clauses <= clauses.num_clauses == report.before.clauses


def test_what_is_removed():
    """By hand: a dead, a duplicate, a voteless, a contradictory and an empty clause; two remain."""
    clauses = ClauseSet.of(
        [[0], [0], [1], [2], [0, 3], []],
        bits=3,
        capacity=[1, 1, 0, 1, 1, 2],
        votes=[[1], [2], [5], [0], [7], [4]],
    )
    small, report = simplify(clauses)
    assert small.num_clauses == 1
    assert (small.literals.tolist(), small.votes.tolist(), small.bias.tolist()) == ([0], [[3]], [8])
    assert [entry.clauses for entry in report.sizes.values()] == [6, 6, 5, 1, 1]
    assert report.as_json()["before"] == {"clauses": 6, "literals": 6, "planes": 4, "votes": 5}


@settings(max_examples=60, deadline=None)
@given(clauses=small_sets, seed=st.integers(0, 99))
def test_constant_bits_keep_the_scores_of_that_data(clauses, seed):
    kind = np.random.default_rng(seed).integers(0, 3, clauses.bits)
    rows = every_input(clauses.bits)
    rows = rows[(rows[:, kind == 1]).all(1) & ~(rows[:, kind == 2]).any(1)]
    changed = constant_bits(clauses, kind == 1, kind == 2)
    np.testing.assert_array_equal(changed.scores(rows), clauses.scores(rows))
    assert not np.isin(changed.literals % clauses.bits, np.flatnonzero(kind)).any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), failures=st.integers(1, 3), levels=st.integers(1, 3))
def test_ordered_bits_keep_the_scores_of_thermometers(seed, failures, levels):
    values = 6 // levels
    clauses = random_set(seed, bits=levels * values, clauses=12, failures=failures, outputs=2, longest=7)
    rows = every_input(clauses.bits)
    ladder = rows.reshape(-1, levels, values)
    rows = rows[(ladder[:, 1:] <= ladder[:, :-1]).all((1, 2))]
    changed = ordered_bits(clauses, values)
    np.testing.assert_array_equal(changed.scores(rows), clauses.scores(rows))
    assert len(changed.literals) <= len(clauses.literals)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_and_singles_are_the_clause(seed):
    """Nothing is lost, nothing is twice; every pair has two takers or more."""
    clauses = random_set(seed, bits=5, clauses=20, failures=2, outputs=1)
    plan = common_pairs(clauses)
    for j in range(clauses.num_clauses):
        own = [*plan.single[j], *plan.pairs[plan.of_clause[j]].ravel()]
        assert sorted(own) == clauses.clause(j).tolist()
    takers = np.bincount([p for own in plan.of_clause for p in own], minlength=len(plan.pairs))
    assert (takers >= 2).all()
    assert plan.saved == takers.sum() - len(plan.pairs) > 0
