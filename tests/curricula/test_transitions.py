"""When stages end."""

import math
from itertools import pairwise

import pytest

from stillhouse.core.checks import InputError
from stillhouse.curricula import ByPlateau, ByTime, ByValidation


def first(criterion, values, metric, *, stage=0, fraction=0.0):
    """The number of the validation at which a stage ends, or None."""
    for number, value in enumerate(values):
        if criterion.ends({metric: value}, stage=stage, fraction=fraction):
            return number
    return None


def test_a_constant_loss_is():
    """After the window and the patience, neither before nor long after."""
    config = ByPlateau(window=3, patience=2)
    assert first(config.build(3), [1.0] * 60, "nll") == 3 + 2 - 1
    assert first(ByPlateau(window=5, patience=4).build(3), [1.0] * 60, "nll") == 5 + 4 - 1


def test_it_fires_where_an_exponential_has_flattened():
    """Closed form without smoothing: 1 + e^-t over a window of 1 improves by less than 1 % from t = 5 to 6 on."""
    values = [1 + math.exp(-t) for t in range(30)]
    gains = [(a - b) / a for a, b in pairwise(values)]
    idle = next(i for i, gain in enumerate(gains) if gain < 0.01)
    assert first(ByPlateau(window=1, patience=1, decay=0.0, least=0.01).build(3), values, "nll") == idle + 1


def test_a_validation_stops_after_its_patience():
    """And a new best, however small, starts the count again."""
    values = [0.5, 0.6, 0.55, 0.55, 0.61, 0.6, 0.6, 0.6]
    assert first(ByValidation(patience=3).build(3), values, "accuracy") == 7
    losses = [-v for v in values]
    assert first(ByValidation(patience=3, better="lower", metric="nll").build(3), losses, "nll") == 7
    assert first(ByValidation(patience=3, better="higher", metric="nll").build(3), losses, "nll") == 3


def test_the_best_is_forgotten_with_the_stage():
    """The accuracy of an easy stage may never be reached again: each later stage would end at once."""
    criterion = ByValidation(patience=2).build(4)
    assert first(criterion, [0.9, 0.9, 0.9], "accuracy") == 2
    criterion.begin()
    assert first(criterion, [0.1, 0.2, 0.3, 0.4, 0.4], "accuracy") is None


def test_time_ends_stages_at_its_shares():
    """Equal parts where none are given; a float just below counts as reached."""
    assert [ByTime().build(4).ends({}, stage=s, fraction=0.5) for s in range(4)] == [True, True, False, False]
    by_time = ByTime(ends=(0.3, 0.7, 1.0)).build(3)
    assert by_time.ends({}, stage=0, fraction=0.1 * 3)
    assert not by_time.ends({}, stage=1, fraction=0.69)
    assert by_time.ends({}, stage=0, fraction=0.3 - 1e-12)


@pytest.mark.parametrize("config", [ByPlateau(window=3, patience=3), ByValidation(patience=5)])
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_criterion_goes_on_where_it_was(config, cut):
    """A resume that forgets the count would lengthen every interrupted stage."""
    whole, before, after = (config.build(3) for _ in range(3))
    values = [2.0, 1.5, 1.5, 1.49, *[1.5] * 16]
    expected = first(whole, values, config.metric)
    assert first(before, values[:cut], config.metric) is None
    after.load_state_dict(before.state_dict())
    assert first(after, values[cut:], config.metric) == expected - cut


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({}, "the validation has none"),
        ({"nll": None, "ece": 0.1}, "known: ece"),
        ({"nl": 1.0}, "did you mean 'nl'"),
        ({"nll": math.nan}, "expected a finite number, got nan"),
    ],
)
def test_a_missing_metric_is_named(metrics, text):
    """Not a stage that never ends."""
    with pytest.raises(InputError, match=text):
        ByPlateau().build(2).ends(metrics, stage=0, fraction=0.0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ByTime(ends=(0.4, 0.7)), "ends: expected"),
        (lambda: ByTime(ends=(0.7, 0.4, 1.0)), "ends: expected"),
    ],
)
def test_senseless_criteria_are_refused(make, text):
    """Before the run."""
    with pytest.raises(ValueError, match=text):
        make()
