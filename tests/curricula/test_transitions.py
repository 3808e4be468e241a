"""When stages end."""

import math
from itertools import pairwise

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.curricula import ByPlateau, ByTime, ByValidation, Curriculum, CurriculumConfig


def first(rule, values):
    """The number of the validation at which a stage ends, or None."""
    return next((n for n in range(len(values)) if rule.idle(values[: n + 1])), None)


def curriculum(transition):
    config = CurriculumConfig(transition=transition, by_class=False, shares=(0.25, 0.5, 0.75, 1.0))
    return Curriculum(config, np.arange(8), None, seed=0)


def test_a_constant_loss_is():
    """After the window and the patience, neither before nor long after."""
    assert first(ByPlateau(window=3, patience=2), [1.0] * 60) == 3 + 2 - 1
    assert first(ByPlateau(window=5, patience=4), [1.0] * 60) == 5 + 4 - 1


def test_it_fires_where_an_exponential_has_flattened():
    """Closed form without smoothing: 1 + e^-t over a window of 1 improves by less than 1 % from t = 5 to 6 on."""
    values = [1 + math.exp(-t) for t in range(30)]
    gains = [(a - b) / a for a, b in pairwise(values)]
    idle = next(i for i, gain in enumerate(gains) if gain < 0.01)
    assert first(ByPlateau(window=1, patience=1, decay=0.0, least=0.01), values) == idle + 1


def test_a_validation_stops_after_its_patience():
    """And a new best, however small, starts the count again."""
    values = [0.5, 0.6, 0.55, 0.55, 0.61, 0.6, 0.6, 0.6]
    assert first(ByValidation(patience=3), values) == 7
    losses = [-v for v in values]
    assert first(ByValidation(patience=3, better="lower"), losses) == 7
    assert first(ByValidation(patience=3, better="higher"), losses) == 3


def test_the_best_is_forgotten_with_the_stage():
    """The accuracy of an easy stage may never be reached again: each later stage would end at once."""
    at_work = curriculum(ByValidation(patience=2))
    stages = []
    for accuracy in (0.9, 0.9, 0.9, 0.1, 0.2, 0.3, 0.4, 0.4):
        at_work.on_validation_end({"accuracy": accuracy}, fraction=0.0)
        stages.append(at_work.stage)
    assert stages == [0, 0, 1, 1, 1, 1, 1, 1]


def test_time_ends_stages_at_its_shares():
    """Equal parts where none are given; a float just below counts as reached; where nothing is seen, the latest time."""
    assert [ByTime().over(s, 4, fraction=0.5) for s in range(4)] == [True, True, False, False]
    by_time = ByTime(ends=(0.3, 0.7, 1.0))
    assert by_time.over(0, 3, fraction=0.1 * 3)
    assert not by_time.over(1, 3, fraction=0.69)
    assert by_time.over(0, 3, fraction=0.3 - 1e-12)
    late = curriculum(ByPlateau(latest=0.6))
    for fraction, stage in ((0.19, 0), (0.2, 1), (0.41, 2), (0.6, 3)):
        late.on_validation_end({"nll": 1 - fraction}, fraction=fraction)
        assert late.stage == stage


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({}, "got None"),
        ({"nll": None, "ece": 0.1}, "known: ece"),
        ({"nll": math.nan}, "expected a finite number, got nan"),
    ],
)
def test_a_missing_metric_is_named(metrics, text):
    """Not a stage that never ends."""
    with pytest.raises(InputError, match=text):
        curriculum(ByPlateau()).on_validation_end(metrics, fraction=0.0)


@pytest.mark.parametrize("ends", [(0.4, 0.7), (0.7, 0.4, 1.0)])
def test_senseless_criteria_are_refused(ends):
    """Before the run."""
    with pytest.raises(ValueError, match="ends: expected"):
        ByTime(ends=ends)
