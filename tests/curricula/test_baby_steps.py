"""Subsets and the rows of an epoch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.core.checks import InputError
from stillhouse.curricula import balanced_over_classes, nested_subsets, rows_in_order, score_difficulty
from stillhouse.curricula.baby_steps import draw
from stillhouse.curricula.difficulty import loss_of_samples

SHARES = (0.25, 0.5, 0.75, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(0, 5))
def test_subsets_are_nested_and_their_union_is_all(rows, seed):
    """A rounding that loses the last rows would drop the hardest for the whole run."""
    order = np.random.default_rng(seed).permutation(rows)
    subsets = nested_subsets(order, SHARES)
    for small, large in pairwise(subsets):
        assert set(small) <= set(large)
    assert sorted(subsets[-1].tolist()) == list(range(rows))
    assert all(len(s) == max(1, round(share * rows)) for s, share in zip(subsets, SHARES))


def test_the_easy_subset_has_the_smaller_loss():
    """The direction, end to end: easy-first must not begin with the hard ones."""
    generator = np.random.default_rng(0)
    z, y = 3 * generator.standard_normal((200, 6)), generator.integers(0, 6, 200)
    loss, difficulty = loss_of_samples(z, y), score_difficulty(z, y)
    means = {
        o: loss[rows_in_order(difficulty, o, seed=0)[:50]].mean()
        for o in ("easy-first", "hard-first", "random", "none")
    }
    assert means["easy-first"] < 0.5 * means["random"]
    assert means["hard-first"] > 1.5 * means["random"]
    by_stage = [loss[s].mean() for s in nested_subsets(rows_in_order(difficulty, "easy-first", seed=0), SHARES)]
    assert by_stage == sorted(by_stage)


def test_the_anti_curriculum_is_the_exact_reverse_and_random_is_neither():
    """Controls that share the seed of the curriculum."""
    scores = np.random.default_rng(0).random(100)
    easy, hard, mixed, plain = (
        rows_in_order(scores, o, seed=3) for o in ("easy-first", "hard-first", "random", "none")
    )
    assert easy.tolist() == np.argsort(scores).tolist()
    assert (easy[::-1] == hard).all()
    assert plain.tolist() == list(range(100))
    assert sorted(mixed.tolist()) == list(range(100))
    assert len({tuple(o) for o in (easy, hard, mixed, plain)}) == 4
    assert mixed.tolist() != rows_in_order(scores, "random", seed=4).tolist()
    assert abs(np.corrcoef(np.argsort(mixed), np.argsort(easy))[0, 1]) < 0.3


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_every_class_has_its_share_of_a_balanced_order(share):
    """The hard class would be absent from the easy subset; rare ones come at least once."""
    labels = np.repeat([0, 1, 2, 3], [60, 30, 9, 1])
    difficulty = labels - np.random.default_rng(0).random(100)  # class 0 is the easiest as a whole
    easy = rows_in_order(difficulty, "easy-first", seed=0)
    assert set(labels[easy[:10]]) == {0}
    balanced = balanced_over_classes(easy, labels)
    assert sorted(balanced.tolist()) == list(range(100))
    counts = np.bincount(labels[balanced[: round(100 * share)]], minlength=4)
    assert (counts >= 1).all()
    assert np.abs(counts - share * np.array([60, 30, 9, 1])).max() <= 3
    for one in range(4):
        inside = balanced[labels[balanced] == one]
        assert inside.tolist() == easy[labels[easy] == one].tolist()


@pytest.mark.parametrize("subset", [1, 13, 50, 99, 100])
@pytest.mark.parametrize("replay", [0.0, 0.05, 0.4])
def test_an_epoch_has_exactly_n_rows_and_the_floor_of_others(subset, replay):
    """Fewer rows in an early stage would give the arms different budgets in steps."""
    rows = np.random.default_rng(0).permutation(100)
    easy, others = rows[:subset], rows[subset:]
    for epoch in range(4):
        drawn = draw(easy, others, replay=replay, epoch=epoch, seed=(0, 1))
        assert len(drawn) == 100
        outside = np.isin(drawn, others).sum()
        assert outside == min(round(100 * replay), len(others))
        counts = np.bincount(drawn, minlength=100)
        assert counts[others].max(initial=0) <= 2
        assert counts[easy].max() - counts[easy].min() <= 2


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (0.9, 0.2, 1.0), (0.5, 1.1)])
def test_shares_that_do_not_rise_to_one_are_refused(shares):
    """With what came."""
    with pytest.raises(InputError, match="rise to 1"):
        nested_subsets(np.arange(10), shares)
