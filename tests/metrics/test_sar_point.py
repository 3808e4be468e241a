"""Point target figures against the sinc, its tabulated windows and the radar's own matched filter."""

import math

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.parameters import preset
from stillhouse.tasks.sar.data.simulate import Motion, point_lines
from stillhouse.tasks.sar.metrics.point import measure_point, upsampled

LENGTH = 1024


def sinc(position=512.0, width=1.3, length=LENGTH):
    return np.sinc((np.arange(length) - position) / width) + 0j


@pytest.mark.parametrize("width", [1.1, 1.3, 2.0])
@pytest.mark.parametrize("position", [512.0, 512.3, 511.5])
def test_the_sinc(width, position):
    """0.8859 of the width, -13.26 dB, place and phase: wherever it lies between samples."""
    point = measure_point(2j * sinc(position, width))
    assert point.irw == pytest.approx(0.88589 * width, rel=2e-3)
    assert point.pslr_db == pytest.approx(-13.2615, abs=0.03)
    assert point.position == pytest.approx(position, abs=2e-3)
    assert abs(point.peak) == pytest.approx(2, rel=2e-3)
    assert np.angle(point.peak) == pytest.approx(math.pi / 2, abs=2e-3)


@pytest.mark.parametrize(("sides", "widened"), [("hamming", 1.47), ("hann", 1.63)])
def test_weighted_spectra_have_their_textbook_sidelobes(sides, widened):
    """Hamming about -42.7 dB and 1.47 times as wide, Hann -31.5 dB and 1.63 times (Harris 1978: 1.30 and 1.44 bins for 0.89)."""
    size, band = LENGTH, 787  # an odd number of bins, centred on 0
    window = {"hamming": 0.54 + 0.46 * np.cos(np.linspace(-np.pi, np.pi, band)), "hann": np.hanning(band)}[sides]
    spectrum = np.zeros(size, complex)
    spectrum[np.arange(band) - band // 2] = window
    spectrum *= np.exp(-2j * np.pi * np.fft.fftfreq(size) * 512.0)
    point = measure_point(np.fft.ifft(spectrum))
    assert point.pslr_db == pytest.approx({"hamming": -42.7, "hann": -31.5}[sides], abs=0.4)
    assert point.irw == pytest.approx(0.886 * widened * size / band, rel=0.02)


def test_the_worked_check_of_sentinel_1():
    """973 taps: PSLR -13.27 dB, ISLR -9.78 dB; width 0.886 PRF / Bd = 1.159 samples (a count of fine samples reads wider)."""
    s1 = preset("sentinel-1")
    point = measure_point(point_lines(s1, [2500.0], length=5000).focused[0])
    assert point.irw == pytest.approx(s1.resolution, rel=0.01)
    assert point.irw * s1.spacing == pytest.approx(0.886 * 6800 / 1300, rel=0.01)
    assert point.pslr_db == pytest.approx(-13.27, abs=0.05)
    assert point.islr_db == pytest.approx(-9.78, rel=0.02)


@pytest.mark.parametrize("offset", [0.0, 0.2, 0.5, 0.77])
@pytest.mark.parametrize("centroid", [0.0, 90.0])
def test_places_and_phases_of_focused_points_are_exact(offset, centroid):
    """A hundredth of a sample and of a radian, with a moved beam too: zeros put into the wrong gap of the spectrum break it."""
    toy = preset("toy-128")
    line = point_lines(toy, [600 + offset], length=1200, amplitudes=np.exp(2j), motion=Motion(None, centroid)).focused[
        0
    ]
    point = measure_point(line, near=600 + offset)
    assert point.position == pytest.approx(600 + offset, abs=0.02)
    carrier = 2 * math.pi * centroid / toy.prf * (point.position - 600 - offset)  # the squinted focus turns as it goes
    assert np.angle(point.peak * np.exp(-1j * (2 + carrier))) == pytest.approx(0, abs=0.02)
    assert abs(point.peak) == pytest.approx(1, abs=0.02)


def test_upsampling_keeps_samples_and_moved_spectra():
    """Band-limited interpolation of a tone at any frequency is that tone."""
    n, fine = np.arange(64), np.arange(64 * 16) / 16
    for frequency in (3, -20, 30):
        tone = np.exp(2j * np.pi * frequency * n / 64)
        np.testing.assert_allclose(upsampled(tone, 16), np.exp(2j * np.pi * frequency * fine / 64), atol=1e-10)
    over_the_edge = np.exp(2j * np.pi * 30 * n / 64) + np.exp(2j * np.pi * 34 * n / 64)  # 34 is -30 to a centre of 0
    wanted = np.exp(2j * np.pi * 30 * fine / 64) + np.exp(2j * np.pi * 34 * fine / 64)
    np.testing.assert_allclose(np.abs(upsampled(over_the_edge, 16)), np.abs(wanted), atol=1e-10)
    noise = np.random.default_rng(0).standard_normal(63) + 0j
    np.testing.assert_allclose(upsampled(noise, 16)[::16], noise, atol=1e-10)


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        (np.ones(4, complex), {}, "8 samples or more"),
        (np.ones((2, 16), complex), {}, r"got shape \(2, 16\)"),
        (np.ones(32), {}, "expected complex numbers"),
        (np.zeros(32, complex), {}, "zeros only"),
        (np.full(32, np.nan + 0j), {}, "NaN"),
        (sinc(), {"near": 5000.0}, "near: expected a place on the line"),
        (np.ones(32, complex), {}, "expected a peak"),
    ],
)
def test_lines_without_a_point_are_refused(line, options, message):
    """A width of a flat or broken line would be an index of nothing."""
    with pytest.raises(InputError, match=message):
        measure_point(line, **options)
