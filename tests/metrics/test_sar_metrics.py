"""Figures of complex images against closed forms."""

import math

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.families.sar.metrics import lines as sar

COMPARISONS = [
    sar.nmse,
    sar.snr_db,
    sar.scale_invariant_nmse,
    sar.coherence,
    sar.coherence_map,
    sar.phase_rmse,
    sar.phase_coherence,
    sar.psnr_db_image,
    sar.radiometric_bias_db,
    sar.doppler_spectrum_error,
]


def speckle(seed, *shape):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


@pytest.mark.parametrize("angle", [0.1, 1.0, math.pi])
def test_nmse_of_a_rotation(angle):
    """|e^{ja} - 1|^2 = 2 - 2 cos a: an error of magnitudes alone would be 0."""
    r = speckle(0, 4, 64)
    assert sar.nmse(r * np.exp(1j * angle), r) == pytest.approx(2 - 2 * math.cos(angle))
    assert sar.scale_invariant_nmse(r * np.exp(1j * angle), r) == pytest.approx(0, abs=1e-12)


def test_nmse_is_over_the_whole_and_not_a_mean_of_lines():
    """A dark line must not weigh as much as a bright one."""
    r = np.array([[10.0, 0], [1, 0]]) + 0j
    p = np.array([[10.0, 0], [0, 0]]) + 0j
    assert sar.nmse(p, r) == pytest.approx(1 / 101)


@pytest.mark.parametrize("noise_db", [0.0, 10.0, 20.0])
def test_snr_and_coherence_of_added_noise(noise_db):
    """Independent noise of relative power e: NMSE e, coherence 1 / sqrt(1 + e)."""
    r, share = speckle(0, 200, 256), 10 ** (-noise_db / 10)
    p = r + math.sqrt(share) * speckle(1, 200, 256)
    assert sar.snr_db(p, r) == pytest.approx(noise_db, abs=0.1)
    assert sar.coherence(p, r) == pytest.approx(1 / math.sqrt(1 + share), abs=5e-3)


def test_scale_invariant_error_is_that_of_the_best_factor():
    """min over a of |a p - r|^2 by numpy's least squares."""
    p, r = speckle(0, 300) + 0.5, speckle(1, 300) + 0.2j
    factor = np.linalg.lstsq(p[:, None], r, rcond=None)[0][0]
    assert sar.scale_invariant_nmse(p, r) == pytest.approx(sar.nmse(factor * p, r))
    assert sar.nmse(p, r) > sar.scale_invariant_nmse(p, r)


def test_silence_has_defined_figures():
    """Zero output is the first thing that a collapsed student says."""
    r = speckle(0, 2, 32)
    p = np.zeros_like(r)
    assert sar.nmse(p, r) == 1
    assert sar.snr_db(p, r) == 0
    assert (sar.coherence(p, r), sar.scale_invariant_nmse(p, r), sar.doppler_spectrum_error(p, r)) == (0, 1, 1)
    assert math.isnan(sar.phase_rmse(p, r))
    assert math.isnan(sar.phase_coherence(p, r))
    assert sar.radiometric_bias_db(p, r) == -math.inf
    assert not sar.coherence_map(p, r).any()
    assert math.isfinite(sar.psnr_db_image(p, r))


def test_perfection_has_defined_figures():
    """Infinite decibels, not a division by zero."""
    r = speckle(0, 2, 64)
    said = sar.judge_focus(r, r)
    assert said["nmse"] == said["radiometric_bias_db"] == 0
    assert said["phase_rmse"] == pytest.approx(0, abs=1e-12)
    assert said["doppler_spectrum_error"] == pytest.approx(0, abs=1e-12)
    assert said["snr_db"] == said["psnr_db_image"] == math.inf
    assert said["coherence"] == pytest.approx(1)
    assert said["phase_coherence"] == pytest.approx(1)


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


@pytest.mark.parametrize("measure", [sar.nmse, sar.snr_db, sar.phase_rmse, sar.radiometric_bias_db])
def test_nan_in_nan_out(measure):
    """A broken prediction must not get a good number."""
    p, r = speckle(0, 32), speckle(1, 32)
    p[3] = np.nan
    assert math.isnan(measure(p, r))


@pytest.mark.parametrize("measure", [sar.nmse, sar.phase_rmse, sar.radiometric_bias_db, sar.psnr_db_image])
def test_a_reference_of_zeros_is_refused(measure):
    """Every prediction would be infinitely wrong."""
    with pytest.raises(InputError, match="reference: expected a signal, got zeros only"):
        measure(speckle(0, 8), np.zeros(8, complex))


def test_tensors_are_taken_as_they_are():
    """Also conjugated views and ones with a gradient: the conjugation must not be lost."""
    p, r = speckle(0, 2, 16), speckle(1, 2, 16)
    for measure in COMPARISONS:
        expected = measure(p.conj(), r)
        said = measure(torch.from_numpy(p).requires_grad_().conj(), torch.from_numpy(r))
        np.testing.assert_allclose(said, expected)


def test_phase_differences_are_wrapped():
    """Pi - 0.05 against -pi + 0.05 differ by 0.1, not by 6.18."""
    r = np.exp(1j * (np.pi - 0.05)) * np.ones(5)
    assert sar.phase_rmse(np.exp(1j * (-np.pi + 0.05)) * np.ones(5), r) == pytest.approx(0.1)


def test_phase_error_is_weighted_by_amplitude():
    """Weights 3 and 1: sqrt((3 * 0 + 1 * 1) / 4)."""
    r = np.array([3.0, 1.0]) + 0j
    assert sar.phase_rmse(r * np.exp(1j * np.array([0.0, 1.0])), r) == pytest.approx(0.5)


def test_unrelated_phases():
    """Uniform on the circle: root mean square pi / sqrt(3), resultant length about sqrt(pi / (4 n))."""
    p, r = speckle(0, 100_000), speckle(1, 100_000)
    assert sar.phase_rmse(p, r) == pytest.approx(math.pi / math.sqrt(3), rel=0.01)
    assert sar.phase_coherence(p, r) < 0.01
    assert sar.phase_coherence(np.exp(0.4j) * r, r) == pytest.approx(1)


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


def test_the_map_takes_windows_of_two_axes():
    """5 x 5 on an image, against the definition."""
    p, r = speckle(0, 20, 30), speckle(1, 20, 30)
    seen = sar.coherence_map(p, r, window=(5, 5))
    assert seen[10, 12] == pytest.approx(sar.coherence(p[8:13, 10:15], r[8:13, 10:15]))
    assert seen[0, 0] == pytest.approx(sar.coherence(p[:3, :3], r[:3, :3]))
    with pytest.raises(InputError, match="window"):
        sar.coherence_map(p, r, window=1)
    with pytest.raises(InputError, match="window"):
        sar.coherence_map(p[0], r[0], window=(3, 3))


def test_image_psnr_is_in_decibels_of_the_picture():
    """A ramp of 0 to 40 dB, everything 1 dB too bright: an error of 1 / 40 of the range, but for the clipped top."""
    db = np.linspace(0, 40, 4001)
    r = 10 ** (db / 20) + 0j
    said = sar.psnr_db_image(r * 10 ** (1 / 20), r, low=0, high=100)
    top = np.minimum(db + 1, 40) - db
    assert said == pytest.approx(-10 * math.log10(np.mean(top**2) / 40**2))
    assert said == pytest.approx(20 * math.log10(40), abs=0.1)


def test_image_psnr_is_not_decided_by_one_bright_point():
    """On linear amplitude a single bright point would make a wrong image look nearly perfect."""
    r, other = speckle(0, 4000), speckle(1, 4000)
    bright = r.copy()
    bright[7] = other[7] = 1e4
    assert sar.psnr_db_image(other, bright) < 15
    with pytest.raises(InputError, match="expected contrast"):
        sar.psnr_db_image(r, np.ones(4000, complex))
    with pytest.raises(InputError, match="low, high"):
        sar.psnr_db_image(r, r, low=60, high=40)


def test_looks():
    """One for speckle, n for the mean of n, whatever the gain."""
    intensity = np.mean(np.abs(speckle(0, 8, 100_000)) ** 2, axis=0)
    assert sar.enl(3 * speckle(1, 100_000)) == pytest.approx(1, rel=0.03)
    assert sar.enl(np.sqrt(intensity) + 0j) == pytest.approx(8, rel=0.03)
    assert sar.enl(np.ones(5, complex)) == math.inf
    with pytest.raises(InputError, match="2 samples or more"):
        sar.enl(np.ones(1, complex))
    with pytest.raises(InputError, match="zeros only"):
        sar.enl(np.zeros(4, complex))


def test_sharpness():
    """Entropy ln n for an even image and 0 for one point; contrast of speckle sqrt(4 / pi - 1)."""
    assert sar.image_entropy(np.ones(50, complex)) == pytest.approx(math.log(50))
    assert sar.image_entropy(np.eye(50)[0] + 0j) == 0
    assert sar.contrast(speckle(0, 100_000)) == pytest.approx(math.sqrt(4 / math.pi - 1), rel=0.01)
    assert sar.contrast(np.ones(5, complex)) == 0


def test_doppler_error_is_the_power_at_wrong_frequencies():
    """A quarter of the power moved to another tone: 0.25, whatever the gain and the phase."""
    n = np.arange(64)
    right, wrong = np.exp(2j * np.pi * 3 * n / 64), np.exp(2j * np.pi * 20 * n / 64)
    mixed = 5j * (math.sqrt(0.75) * right + math.sqrt(0.25) * wrong)
    assert sar.doppler_spectrum_error(mixed, right) == pytest.approx(0.25)
    assert sar.doppler_spectrum_error(np.conj(right), right) == pytest.approx(1)


def test_a_length_of_one_is_judged():
    """Length 1 is an input like any other."""
    p, r = np.array([[0.5 + 0j]]), np.array([[1.0 + 0j]])
    assert sar.nmse(p, r) == 0.25
    assert sar.coherence(p, r) == 1
    assert sar.doppler_spectrum_error(p, r) == 0
