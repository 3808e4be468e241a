"""Intervals and verdicts against closed forms and a simulated truth."""

import numpy as np
import pytest
from scipy import stats

from stillhouse.core.checks import InputError
from stillhouse.core.verdict import compare, mean_interval, seed_interval


def effects(rng, S, N, seed=0.0, item=0.0, rest=0.0):
    """(S, N) values with mean 0 and the given standard deviations."""
    noise = rng.normal(size=(S, N)) * rest
    return rng.normal(size=(S, 1)) * seed + rng.normal(size=(1, N)) * item + noise


@pytest.mark.parametrize(
    ("seed", "item", "rest"), [(0.0, 0.2, 0.1), (0.01, 0.2, 0.1), (0.1, 0.2, 0.1), (0.02, 0.05, 0.15), (0.0, 0.0, 0.2)]
)
def test_three_seeds_cover_the_truth_about_95_percent(seed, item, rest):
    """An interval over seeds or items alone would be far too narrow, and nobody would see it."""
    rng = np.random.default_rng(1)
    found = [mean_interval(effects(rng, 3, 150, seed, item, rest)) for _ in range(1000)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.91 <= covered <= 0.995


def test_correctness_on_hard_and_easy_items_is_covered():
    """Zeros and ones are not normal: shares of correct answers of real size must be covered as well."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        ease = rng.beta(4.0, 0.4, size=400)  # mean 10/11: most items easy, some hard
        found = mean_interval(rng.random((3, 400)) < ease)
        hits += found.low <= 10 / 11 <= found.high
    assert 0.93 <= hits / 1000 <= 0.99


def test_equal_arms_are_told_apart_in_at_most_a_few_percent():
    """A verdict that cries 'helps' on noise would sell dead teachers."""
    rng = np.random.default_rng(3)
    words = []
    for _ in range(1000):
        ease = rng.beta(4.0, 0.4, size=300)
        words.append(compare(rng.random((3, 300)) < ease, rng.random((3, 300)) < ease).verdict)
    assert words.count("helps") + words.count("hurts") <= 60


def test_only_item_variance_is_the_t_interval_over_items():
    items = np.random.default_rng(4).normal(size=50)
    low, high = stats.t.interval(0.95, 49, items.mean(), items.std(ddof=1) / np.sqrt(50))
    for seeds in (1, 3):
        found = mean_interval(np.tile(items, (seeds, 1)))
        assert (found.mean, found.low, found.high) == pytest.approx((items.mean(), low, high))


def test_only_seed_variance_is_the_t_interval_over_seeds():
    seeds = np.array([0.95, 0.97, 0.96])
    low, high = stats.t.interval(0.95, 2, seeds.mean(), seeds.std(ddof=1) / np.sqrt(3))
    found = mean_interval(np.tile(seeds[:, None], (1, 80)))
    plain = seed_interval(seeds)
    assert (found.mean, found.low, found.high) == pytest.approx((seeds.mean(), low, high))
    assert (plain.mean, plain.low, plain.high) == pytest.approx((seeds.mean(), low, high))


def test_an_overshooting_subtraction_never_narrows_below_a_single_term():
    """Pure noise can make MS_seed + MS_item - MS_rest tiny or negative: the root of it would be nothing or NaN."""
    crossed = np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])  # MS_seed = MS_item = 0, all of it is rest
    found = mean_interval(crossed)
    assert found.low < 0 < found.high
    nearly = mean_interval(crossed + np.array([[0.01], [0.0]]))
    assert nearly.low < nearly.mean < nearly.high < 100


def test_every_verdict_word_is_reached():
    base = np.random.default_rng(6).normal(size=(3, 100))
    assert compare(base + 1, base).verdict == "helps"
    assert compare(base - 1, base).verdict == "hurts"
    assert compare(base, base).verdict == "no difference shown"
    assert compare(base[:1] + 1, base[:1]).verdict == "not tested"
    assert compare(None, base).verdict == compare(base, None).verdict == "not tested"


def test_one_seed_has_an_item_interval_and_no_seed_interval():
    found = mean_interval([[1.0, 0.0, 1.0, 1.0]])
    assert found.low < 0.75 < found.high
    alone = seed_interval([0.5])
    assert alone.mean == 0.5
    assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize("values", [[1.0, 0.0], [[1.0]], [[1.0, float("nan")]], np.empty((0, 5))])
def test_what_cannot_be_an_interval_is_refused(values):
    with pytest.raises(InputError, match="values: expected"):
        mean_interval(values)


def test_unpaired_arms_are_refused():
    """Broadcasting (1, N) against (3, N) would compare one seed with three and look paired."""
    with pytest.raises(InputError, match=r"expected shape \(3, 20\), got \(1, 20\)"):
        compare(np.zeros((3, 20)), np.zeros((1, 20)))
