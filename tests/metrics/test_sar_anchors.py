"""Anchors of focusing: what each must score, by theory."""

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.matched_filter import filtered, matched_filter
from stillhouse.tasks.sar.data.parameters import preset
from stillhouse.tasks.sar.data.scene import SceneConfig
from stillhouse.tasks.sar.data.simulate import point_lines, simulate_lines
from stillhouse.tasks.sar.metrics.anchors import fit_fir, truncated
from stillhouse.tasks.sar.metrics.lines import nmse
from stillhouse.tasks.sar.metrics.point import measure_point

TOY = preset("toy-64")
WHITE = SceneConfig(homogeneous=1, texture=0, regions=0, points_min=0, points_max=0)
LINES = simulate_lines(TOY, WHITE, np.random.default_rng(0), lines=24, length=512)
TRAIN = simulate_lines(TOY, WHITE, np.random.default_rng(1), lines=24, length=512)


def score(said):
    return nmse(said[:, LINES.valid], LINES.focused[:, LINES.valid])


def test_truncation_loses_band_and_with_it_resolution():
    """Half the taps of a chirp are half its band: twice as wide, and about half the energy of the focus."""
    kernel = matched_filter(TOY)
    errors = [score(filtered(LINES.raw, truncated(kernel, taps))) for taps in (1, 17, 33, 49, 65)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] == pytest.approx(0.5, abs=0.1)
    assert errors[-1] < 1e-20
    point = point_lines(TOY, [300.0], length=600).raw[0]
    widths = [measure_point(filtered(point, truncated(kernel, taps))).irw for taps in (33, 65)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)


def test_a_fitted_filter_is_no_worse_than_a_truncated_one():
    """Least squares may use the same taps."""
    kernel = matched_filter(TOY)
    for taps in (17, 33):
        fitted = fit_fir(TRAIN.raw, TRAIN.focused, taps, valid=TRAIN.valid)
        assert score(filtered(LINES.raw, fitted)) < score(filtered(LINES.raw, truncated(kernel, taps)))


def test_filters_are_those_of_numpy():
    """Edges are zero, nothing wraps round, one kernel a line where there are several."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 20)) + 1j * rng.standard_normal((3, 20))
    k = rng.standard_normal((3, 7)) + 1j * rng.standard_normal((3, 7))
    expected = np.stack([np.convolve(a, b, mode="same") for a, b in zip(x, k)])
    np.testing.assert_allclose(filtered(x, k), expected, atol=1e-12)
    short = np.convolve(x[0, :3], k[0], mode="full")[3:6]
    np.testing.assert_allclose(filtered(x[:1, :3], k[0])[0], short, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_fir(np.ones((2, 9), complex), np.ones((2, 8), complex), 3), "targets: expected shape"),
        (lambda: fit_fir(np.ones((2, 9), complex), np.ones((2, 9), complex), 2), "taps: expected an odd number, got 2"),
        (lambda: fit_fir(np.ones((1, 3), complex), np.ones((1, 3), complex), 5), "5 valid samples or more"),
        (lambda: fit_fir(np.zeros((1, 9), complex), np.ones((1, 9), complex), 3), "expected a signal"),
    ],
)
def test_impossible_requests_are_refused(call, message):
    """Names, what was expected, what came."""
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(("teacher", "student", "kept"), [(0.8, 0.4, 0.5), (0.8, -0.4, None), (-0.1, 0.4, None)])
def test_a_share_of_the_teachers_quality_needs_two_that_focus(teacher, student, kept):
    """1 - NMSE below 0 made shares of -300 %."""
    from stillhouse.tasks.sar.compare import _related

    rows = [
        {"name": n, "kind": "network", "size": "", "parameters": 9, "quality": q}
        for n, q in (("t", teacher), ("s", student))
    ]
    assert _related(rows)[1].get("quality_kept") == kept
