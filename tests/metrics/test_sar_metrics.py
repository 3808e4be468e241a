"""Figures of focused lines and points against closed forms: the sinc, its tabulated windows, the radar's own matched filter."""

import math

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.radar import convolve_lines, preset
from stillhouse.tasks.sar.data.simulate import point_lines
from stillhouse.tasks.sar.metrics import line_figures, measure_point, noise_quality

LENGTH = 1024


def speckle(seed, *shape):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def sinc(position=512.0, width=1.3):
    return np.sinc((np.arange(LENGTH) - position) / width) + 0j


@pytest.mark.parametrize("noise_db", [0.0, 10.0, 20.0])
def test_quality_and_coherence_of_added_noise(noise_db):
    """Independent noise of relative power e: quality 1 - e, coherence 1 / sqrt(1 + e); a rotation costs 2 - 2 cos a of quality."""
    r, share = speckle(0, 200, 256), 10 ** (-noise_db / 10)
    found = line_figures(r + math.sqrt(share) * speckle(1, 200, 256), r)
    assert found["quality"].mean() == pytest.approx(1 - share, abs=0.01)
    assert found["coherence"].mean() == pytest.approx(1 / math.sqrt(1 + share), abs=5e-3)
    turned = line_figures(np.exp(1j) * r, r)
    assert turned["quality"] == pytest.approx(2 * math.cos(1) - 1)
    assert turned["coherence"] == pytest.approx(1)


def test_noise_passes_the_bar_once_in_twenty():
    """By drawing: unrelated lines of a band, each with the best factor in hindsight."""

    def drawn(seed, count, length=300, band=0.7):
        spectrum = speckle(seed, count, length)
        spectrum[:, int(band * length) :] = 0
        return np.fft.ifft(spectrum).astype(np.complex64)

    wanted, noise = drawn(0, 4000), drawn(1, 4000)
    factor = (noise.conj() * wanted).sum(1) / (abs(noise) ** 2).sum(1)
    quality = line_figures(noise * factor[:, None], wanted)["quality"]
    assert np.mean(quality > noise_quality(wanted)) == pytest.approx(0.05, abs=0.012)
    few = np.mean([noise_quality(wanted[first : first + 4]) for first in range(0, 4000, 4)])
    assert few == pytest.approx(noise_quality(wanted), rel=0.1)  # a validation split may be small


@pytest.mark.parametrize("width", [1.1, 1.3, 2.0])
@pytest.mark.parametrize("position", [512.0, 512.3, 511.5])
def test_the_sinc(width, position):
    """0.8859 of the width, -13.26 dB, place and phase: wherever it lies between samples."""
    point = measure_point(2j * sinc(position, width), 512)
    assert point["irw"] == pytest.approx(0.88589 * width, rel=2e-3)
    assert point["pslr_db"] == pytest.approx(-13.2615, abs=0.03)
    assert point["position"] == pytest.approx(position, abs=2e-3)
    assert point["phase"] == pytest.approx(math.pi / 2, abs=2e-3)


@pytest.mark.parametrize(("sides", "widened"), [("hamming", 1.47), ("hann", 1.63)])
def test_weighted_spectra_have_their_textbook_sidelobes(sides, widened):
    """Hamming about -42.7 dB and 1.47 times as wide, Hann -31.5 dB and 1.63 times (Harris 1978: 1.30 and 1.44 bins for 0.89)."""
    size, band = LENGTH, 787  # an odd number of bins, centred on 0
    window = {"hamming": 0.54 + 0.46 * np.cos(np.linspace(-np.pi, np.pi, band)), "hann": np.hanning(band)}[sides]
    spectrum = np.zeros(size, complex)
    spectrum[np.arange(band) - band // 2] = window
    spectrum *= np.exp(-2j * np.pi * np.fft.fftfreq(size) * 512.0)
    point = measure_point(np.fft.ifft(spectrum), 512)
    assert point["pslr_db"] == pytest.approx({"hamming": -42.7, "hann": -31.5}[sides], abs=0.4)
    assert point["irw"] == pytest.approx(0.886 * widened * size / band, rel=0.02)


def test_the_worked_check_of_sentinel_1():
    """973 taps: PSLR -13.27 dB, ISLR -9.78 dB; width 0.886 PRF / Bd = 1.159 samples (a count of fine samples reads wider)."""
    s1 = preset("sentinel-1")
    point = measure_point(point_lines(s1, [2500.0], length=5000).focused[0], 2500)
    assert point["irw"] == pytest.approx(0.8859 * s1.prf / s1.doppler_bandwidth, rel=0.01)
    assert point["pslr_db"] == pytest.approx(-13.27, abs=0.05)
    assert point["islr_db"] == pytest.approx(-9.78, rel=0.02)


def test_lines_without_a_point_are_refused():
    """A width of a flat line would be an index of nothing."""
    for line in (np.ones(32, complex), np.zeros(32, complex)):
        with pytest.raises(InputError, match="expected a peak"):
            measure_point(line, 16)


def test_filters_are_those_of_numpy():
    """Edges are zero, nothing wraps round, one kernel a line where there are several."""
    x, k = speckle(0, 3, 20), speckle(1, 3, 7)
    expected = np.stack([np.convolve(a, b, mode="same") for a, b in zip(x, k)])
    np.testing.assert_allclose(convolve_lines(x, k), expected, atol=1e-12)
    short = np.convolve(x[0, :3], k[0], mode="full")[3:6]
    np.testing.assert_allclose(convolve_lines(x[:1, :3], k[0])[0], short, atol=1e-12)
