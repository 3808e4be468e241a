"""Smaller clause sets keep every score: shown on all inputs of few bits, so on no sample."""

import numpy as np
from conftest_logic import random_set
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.simplify import simplify

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
def test_no_score_changes(clauses):
    rows = every_input(clauses.bits)
    small = simplify(clauses)
    np.testing.assert_array_equal(small.scores(rows), clauses.scores(rows))
    assert small.num_clauses <= clauses.num_clauses


def test_what_is_removed():
    """By hand: a dead, a duplicate, a voteless, a contradictory and an empty clause; two remain."""
    clauses = ClauseSet.of(
        [[0], [0], [1], [2], [0, 3], []],
        bits=3,
        capacity=[1, 1, 0, 1, 1, 2],
        votes=[[1], [2], [5], [0], [7], [4]],
    )
    small = simplify(clauses)
    assert small.num_clauses == 1
    assert (small.literals.tolist(), small.votes.tolist(), small.bias.tolist()) == ([0], [[3]], [8])
