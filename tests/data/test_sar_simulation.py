"""The radar's physics against closed forms: echo, matched filter, noise, scenes. No value comes from our own output."""

import numpy as np
import pytest

from stillhouse.core.config import ConfigError, parse
from stillhouse.tasks.sar.data.radar import (
    PRESETS,
    SarParameters,
    convolve_lines,
    half_aperture,
    impulse_response,
    matched_filter,
    preset,
)
from stillhouse.tasks.sar.data.simulate import (
    SceneConfig,
    draw_scene,
    gamma_texture,
    point_lines,
    simulate_lines,
    speckle,
)

TOY = preset("toy-64")
SPECKLE = SceneConfig(homogeneous=1, texture=0, regions=0, points_min=0, points_max=0)


def seeded(seed=0):
    return np.random.default_rng(seed)


def test_sentinel_1_has_the_worked_numbers():
    """Ka = 2 Vr^2 / (lambda R0), 973 taps."""
    s1 = preset("sentinel-1")
    assert s1.rate == pytest.approx(2 * 7100**2 / (299792458 / 5.405e9 * 800e3))
    assert len(matched_filter(s1)) == 973


@pytest.mark.parametrize("name", PRESETS)
def test_the_instantaneous_frequency_is_minus_ka_t(name):
    """A wrong sign or factor 2 in the phase still gives a chirp, of another radar."""
    radar = preset(name)
    response = impulse_response(radar)
    frequency = np.angle(response[1:] * np.conj(response[:-1])) / (2 * np.pi) * radar.prf
    middles = (np.arange(len(response) - 1) - len(response) // 2 + 0.5) / radar.prf
    np.testing.assert_allclose(frequency, -radar.rate * middles, atol=1e-6 * radar.prf)


@pytest.mark.parametrize("name", PRESETS)
def test_the_doppler_spectrum_is_the_band(name):
    """All but the chirp's own leakage lies within Bd / 2; beyond the aperture there is nothing."""
    radar = preset(name)
    response = impulse_response(radar, half=2 * half_aperture(radar))
    power = np.abs(np.fft.fft(response, 8192)) ** 2
    inside = np.abs(np.fft.fftfreq(8192) * radar.prf) <= radar.doppler_bandwidth / 2
    assert power[inside].sum() / power.sum() > 0.95


def test_a_point_on_a_sample_focuses_to_its_amplitude():
    """The filter is over the echo's energy: peak, phase and place are those of the point."""
    lines = point_lines(TOY, [150.0], length=300, amplitudes=3 * np.exp(0.7j))
    assert np.abs(lines.focused[0]).argmax() == 150
    np.testing.assert_allclose(lines.focused[0, 150], 3 * np.exp(0.7j), rtol=1e-12)


@pytest.mark.parametrize("name", ["toy-64", "toy-128", "sentinel-1"])
def test_the_valid_crop_is_the_full_aperture_result(name):
    """A target whose aperture is cut by the line's end cannot be learned: such samples must lie outside `valid`, no others."""
    radar = preset(name)
    half = half_aperture(radar)
    length = 4 * half + 102
    lines = simulate_lines(radar, SceneConfig(), seeded(), lines=3, length=length)
    assert lines.valid == slice(half, length - half)
    focused = convolve_lines(lines.raw, matched_filter(radar))
    scale = np.abs(lines.focused).max()
    np.testing.assert_allclose(focused[:, lines.valid], lines.focused[:, lines.valid], atol=1e-10 * scale)
    just_outside = [lines.valid.start - 1, lines.valid.stop]
    assert (np.abs(focused - lines.focused)[:, just_outside] > 1e-6 * scale).all()


def test_the_valid_crop_holds_where_rates_differ():
    """One common region for lines of several rates, or batches could not be formed."""
    rate = TOY.rate * np.array([0.85, 1.0, 1.15])
    lines = simulate_lines(TOY, SceneConfig(), seeded(), lines=3, length=300, azimuth_rate=rate)
    half = half_aperture(TOY, rate)
    focused = convolve_lines(lines.raw, matched_filter(TOY, rate, half))
    scale = np.abs(lines.focused).max()
    np.testing.assert_allclose(focused[:, lines.valid], lines.focused[:, lines.valid], atol=1e-10 * scale)
    wrong = convolve_lines(lines.raw, matched_filter(TOY, half=half))[:, lines.valid]
    error = np.sum(np.abs(wrong - lines.focused[:, lines.valid]) ** 2, 1) / np.sum(np.abs(wrong) ** 2, 1)
    assert error[1] < 1e-20
    assert (error[[0, 2]] > 0.1).all(), "the wrong rate must cost something, or the position channel would not matter"


@pytest.mark.parametrize("position", [150.0, 150.25, 150.5, 149.8])
def test_points_between_samples_are_where_they_should_be(position):
    """Rounding to a sample would be 0.5 samples wrong; the centroid of the focused power is the position."""
    lines = point_lines(preset("toy-256"), [position], length=600)
    power = np.abs(lines.focused[0, 130:171]) ** 2
    assert np.sum(np.arange(130, 171) * power) / power.sum() == pytest.approx(position, abs=0.03)


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_power_that_was_asked_for(snr_db):
    """Over the noise-free mean of each line; the filter then passes the share of white noise that lies in its band."""
    lines = simulate_lines(TOY, SPECKLE, seeded(), lines=64, length=512, snr_db=snr_db)
    clean = simulate_lines(TOY, SPECKLE, seeded(), lines=64, length=512).raw
    noise = lines.raw - clean
    ratio = np.sum(np.abs(clean) ** 2) / np.sum(np.abs(noise) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.2)
    error = convolve_lines(noise, matched_filter(TOY))[:, lines.valid]
    nmse = np.sum(np.abs(error) ** 2) / np.sum(np.abs(lines.focused[:, lines.valid]) ** 2)
    assert nmse == pytest.approx(10 ** (-snr_db / 10) / 1.3, rel=0.1)


def test_speckle_is_circular_gaussian():
    """Intensity exponential: second moment 2, no pseudo-covariance, amplitude contrast sqrt(4 / pi - 1)."""
    drawn = speckle(seeded(), (200_000,))
    intensity = np.abs(drawn) ** 2
    assert intensity.mean() == pytest.approx(1, abs=0.01)
    assert (intensity**2).mean() == pytest.approx(2, rel=0.02)
    assert abs((drawn**2).mean()) < 0.01
    assert np.abs(drawn).std() / np.abs(drawn).mean() == pytest.approx(np.sqrt(4 / np.pi - 1), rel=0.01)


@pytest.mark.parametrize("order", [1.0, 3.0])
def test_texture_is_gamma_and_its_clutter_k_distributed(order):
    """Mean 1, variance 1 / order; intensity of the clutter has second moment 2 (1 + 1 / order)."""
    rng = seeded()
    texture = gamma_texture(rng, 400_000, order=order, length=5.0)
    assert texture.mean() == pytest.approx(1, rel=0.02)
    assert texture.var() == pytest.approx(1 / order, rel=0.06)
    intensity = texture * np.abs(speckle(rng, texture.shape)) ** 2
    assert (intensity**2).mean() / intensity.mean() ** 2 == pytest.approx(2 * (1 + 1 / order), rel=0.05)


def test_the_signal_to_clutter_ratio_is_that_of_the_focused_image():
    """Peak of the point over the mean focused clutter; a white scene of power 1 focuses to power PRF / Bd."""
    mix = SceneConfig(homogeneous=1, texture=0, regions=0, points_min=1, points_max=1, scr_db_min=20, scr_db_max=20)
    drawn = draw_scene(mix, seeded(), 4, 200, gain=TOY.prf / TOY.doppler_bandwidth)
    clutter = simulate_lines(TOY, SPECKLE, seeded(1), lines=200, length=512).focused
    ratio = np.abs(drawn.point_amplitude) ** 2 / np.mean(np.abs(clutter) ** 2)
    np.testing.assert_allclose(10 * np.log10(ratio), 20, atol=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"slant_range": 8e5, "azimuth_rate": 2e3},
            "slant_range, azimuth_rate: expected at most one of them, got both",
        ),
        ({"slant_range": 8e5, "prf": 1000.0}, "prf: expected at least doppler_bandwidth"),
        ({"azimuth_rate": 1e7}, "aperture: expected 3 pulses or more"),
        ({"azimuth_rate": -1.0}, "azimuth_rate"),
        ({"slant_range": "far"}, "slant_range"),
    ],
)
def test_impossible_radars_are_refused(settings, message):
    """An aliased or empty aperture gives numbers, not an error, further on."""
    with pytest.raises(ConfigError, match=message):
        parse(SarParameters, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"homogeneous": 0, "texture": 0, "regions": 0}, "expected a share above 0"),
        ({"points_min": 9, "points_max": 3}, "points_max: expected points_min or more"),
    ],
)
def test_impossible_scenes_are_refused(settings, message):
    """They would fail later, inside NumPy, with words of NumPy."""
    with pytest.raises(ConfigError, match=message):
        parse(SceneConfig, settings)
