"""Signs of comparisons: above 0 is better, whichever end of a metric is the good one."""

import numpy as np
import pytest

from stillhouse.core.parts import Contrast, Metric
from stillhouse.core.summary import _compared, _figures


@pytest.mark.parametrize(("lower", "verdict"), [(False, "helps"), (True, "hurts")])
def test_a_smaller_error_helps_and_a_smaller_score_hurts(lower, verdict):
    """The sign turned round would sell every harm of a language or radar run as a gain."""
    rng = np.random.default_rng(0)
    control = rng.normal(size=(3, 50))
    tables = {"no-kd": {"m": control}, "kd": {"m": control + 0.5 + 0.01 * rng.normal(size=(3, 50))}}
    found = _compared(Contrast("teacher", "kd", "no-kd", "m"), tables, Metric("m", "M", lower_is_better=lower))
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx(-0.5 if lower else 0.5, abs=0.01)


def test_one_seed_has_no_interval_over_seeds():
    """NaN ends became the ends of the scale: 0 to 100 % from one seed."""
    found = _figures({}, [{"metrics": {"ece": 0.1}, "seconds": 2.0}], {"ece": Metric("ece", "ECE", low=0.0, high=1.0)})
    assert found["ece"] == {"mean": 0.1, "low": None, "high": None, "values": [0.1]}
    two = _figures({}, [{"metrics": {"ece": x}} for x in (0.1, 0.5)], {"ece": Metric("ece", "ECE", low=0.0, high=1.0)})
    assert (two["ece"]["low"], two["ece"]["high"]) == (0.0, 1.0)  # t with one degree of freedom, cut at the scale


def test_seeds_that_kept_the_same_start_are_one_witness():
    """Three trainings that changed nothing are one comparison, and one seed is not enough for a verdict."""
    rng = np.random.default_rng(0)
    start, control = rng.normal(size=50), rng.normal(size=(1, 50)) - 9
    same = {"kd": {"m": np.stack([start] * 3)}, "pca": {"m": control}}
    found = _compared(Contrast("pca", "kd", "pca", "m"), same, Metric("m", "M"))
    assert (found["verdict"], found["seeds"]) == ("not tested", 1)
    two = {"kd": {"m": np.stack([start, start, start + 0.01 * rng.normal(size=50)])}, "pca": {"m": control}}
    found = _compared(Contrast("pca", "kd", "pca", "m"), two, Metric("m", "M"))
    assert (found["verdict"], found["seeds"]) == ("not tested", 2)


def test_students_that_differ_in_another_metric_are_two_witnesses():
    """Right and wrong answers of a small test split may well be equal where the probabilities are not."""
    rng = np.random.default_rng(0)
    right, control = np.ones((2, 50)), np.zeros((2, 50))
    tables = {"kd": {"m": right, "nll": rng.random((2, 50))}, "no-kd": {"m": control, "nll": rng.random((2, 50))}}
    assert _compared(Contrast("teacher", "kd", "no-kd", "m"), tables, Metric("m", "M"))["seeds"] == 2
