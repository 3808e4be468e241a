"""The bars of restricted linear focusers: theory's numbers."""

import numpy as np
import pytest
from benchmarks.sar.bars import kernel_bar, linear_bar
from scipy.special import fresnel

from stillhouse.tasks.sar.data.radar import impulse_response, matched_filter, preset

S1 = matched_filter(preset("sentinel-1"))


def test_the_bars_of_the_specification_at_sentinel_1():
    """Complex two-sided 0, real only 0.489, causal 0.496, both 0.745: what streams of real parts cannot do."""
    assert kernel_bar(S1) == pytest.approx(0, abs=1e-12)
    assert kernel_bar(S1, real=True) == pytest.approx(0.489, abs=0.005)
    assert kernel_bar(S1, look_ahead=0) == pytest.approx(0.496, abs=0.005)
    assert kernel_bar(S1, real=True, look_ahead=0) == pytest.approx(0.745, abs=0.005)


@pytest.mark.parametrize("name", ["toy-64", "toy-128", "toy-256", "sentinel-1"])
def test_the_bars_have_closed_forms(name):
    """Causal keeps (K + 1) / 2 of K equal taps; real keeps 1/2 + C(sqrt(T)) / (2 sqrt(T)) by the Fresnel integral."""
    radar = preset(name)
    kernel = matched_filter(radar)
    assert kernel_bar(kernel, look_ahead=0) == pytest.approx(0.5 - 0.5 / len(kernel))
    root = np.sqrt(radar.doppler_bandwidth**2 / radar.rate)  # of the time-bandwidth product
    kept = 0.5 + 0.5 * fresnel(root)[1] / root  # the mean of cos(2 pi Ka t^2) over the aperture
    assert kernel_bar(kernel, real=True) == pytest.approx(1 - kept, abs=0.02)


def test_wiener_bars_are_below_those_of_white_input():
    """Raw data is band-limited, so its future is partly known: a trained causal model may pass the white bar, not this one."""
    for name in ("toy-64", "toy-128"):
        response = impulse_response(preset(name))
        kernel = np.conj(response[::-1])
        causal = linear_bar(response, look_ahead=0)
        assert 0.45 < causal < kernel_bar(kernel, look_ahead=0)
        assert linear_bar(response) == pytest.approx(0, abs=1e-6)
        both = linear_bar(response, look_ahead=0, real=True)
        assert max(causal, linear_bar(response, real=True)) < both
