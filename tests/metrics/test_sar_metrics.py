"""Figures of complex images against closed forms."""

import math

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.metrics import lines as sar

COMPARISONS = [
    sar.nmse,
    sar.snr_db,
    sar.coherence,
    sar.coherence_map,
    sar.phase_rmse,
]


def speckle(seed, *shape):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


@pytest.mark.parametrize("angle", [0.1, 1.0, math.pi])
def test_nmse_of_a_rotation(angle):
    """|e^{ja} - 1|^2 = 2 - 2 cos a: an error of magnitudes alone would be 0."""
    r = speckle(0, 4, 64)
    assert sar.nmse(r * np.exp(1j * angle), r) == pytest.approx(2 - 2 * math.cos(angle))


@pytest.mark.parametrize("noise_db", [0.0, 10.0, 20.0])
def test_snr_and_coherence_of_added_noise(noise_db):
    """Independent noise of relative power e: NMSE e, coherence 1 / sqrt(1 + e)."""
    r, share = speckle(0, 200, 256), 10 ** (-noise_db / 10)
    p = r + math.sqrt(share) * speckle(1, 200, 256)
    assert sar.snr_db(p, r) == pytest.approx(noise_db, abs=0.1)
    assert sar.coherence(p, r) == pytest.approx(1 / math.sqrt(1 + share), abs=5e-3)


def test_silence_has_defined_figures():
    """Zero output is the first thing that a collapsed student says."""
    r = speckle(0, 2, 32)
    p = np.zeros_like(r)
    assert sar.nmse(p, r) == 1
    assert sar.snr_db(p, r) == 0
    assert sar.coherence(p, r) == 0
    assert math.isnan(sar.phase_rmse(p, r))
    assert not sar.coherence_map(p, r).any()


@pytest.mark.parametrize("measure", COMPARISONS)
def test_inputs_that_cannot_be_judged(measure):
    """(B, L, 1) against (B, L) would broadcast to (B, B, L) and give a number; a lost imaginary part too."""
    r = speckle(0, 3, 32)
    with pytest.raises(InputError, match=r"prediction: expected shape \(3, 32\), got \(3, 32, 1\)"):
        measure(r[..., None], r)
    with pytest.raises(InputError, match="prediction: expected complex numbers, got float64"):
        measure(r.real, r)
    with pytest.raises(InputError, match="at least one sample"):
        measure(r[:0], r[:0])
    bad = r.copy()
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="reference: expected finite numbers, got 1 that are not"):
        measure(r, bad)


def test_phase_differences_are_wrapped():
    """Pi - 0.05 against -pi + 0.05 differ by 0.1, not by 6.18."""
    r = np.exp(1j * (np.pi - 0.05)) * np.ones(5)
    assert sar.phase_rmse(np.exp(1j * (-np.pi + 0.05)) * np.ones(5), r) == pytest.approx(0.1)


def test_the_map_of_coherence_is_local():
    """One where the two agree, low where they do not; by hand in one window."""
    r = speckle(0, 4, 400)
    p = r.copy()
    p[:, 200:] = speckle(1, 4, 200)
    seen = sar.coherence_map(p, r, window=21)
    assert seen.shape == r.shape
    np.testing.assert_allclose(seen[:, :190], 1)
    assert seen[:, 211:].mean() == pytest.approx(math.sqrt(math.pi / (4 * 21)), abs=0.03)
    window = slice(300 - 10, 300 + 11)
    assert seen[2, 300] == pytest.approx(sar.coherence(p[2, window], r[2, window]))
