"""From a scene to range-compressed lines and their exact focus.

One dimension: scene * echo -> raw, raw * matched filter -> target, both by linear convolution over a stretch so much longer than
the line that every sample shown, target included, has its whole aperture.

Legend: N lines, L samples shown, h half aperture; the scene has L + 4h samples, the raw data L + 2h, the target L.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.radar import (
    Complex,
    SarParameters,
    echo,
    half_aperture,
    impulse_response,
    matched_filter,
    overlapped,
)
from stillhouse.tasks.sar.data.scene import Scene, SceneConfig, draw_scene, speckle


@dataclass(frozen=True)
class Lines:
    """N simulated lines.

    Attributes:
        raw: (N, L) range-compressed data, with thermal noise where asked for.
        focused: (N, L) the exact discrete matched filter of the noise-free data, from all of the data: the ground truth.
        valid: the samples whose whole aperture lies inside the L samples of `raw`: only there can any model reach `focused`.
    """

    raw: Complex
    focused: Complex
    valid: slice


def simulate_lines(
    parameters: SarParameters,
    scene: SceneConfig,
    rng: np.random.Generator,
    *,
    lines: int,
    length: int,
    snr_db: float | None = None,
    azimuth_rate: ArrayLike | None = None,
    half: int | None = None,
) -> Lines:
    """Draw scenes and let the radar see them.

    Args:
        parameters: the radar.
        scene: the mix of scenes.
        rng: the source of chance.
        lines: N.
        length: L.
        snr_db: mean power of a line's noise-free raw data over the power of the noise, dB; no noise where not given.
        azimuth_rate: Ka, a number or (N); that of the radar where not given.
        half: h, where several calls must share one valid region.

    Example:
        >>> from stillhouse.tasks.sar.data.radar import preset
        >>> drawn = simulate_lines(preset("toy-64"), SceneConfig(), np.random.default_rng(0), lines=2, length=128)
        >>> drawn.raw.shape, drawn.valid
        ((2, 128), slice(32, 96, None))
    """
    rates, half = _rates(parameters, lines, length, azimuth_rate, half)
    samples = length + 4 * half
    gain = parameters.prf / parameters.doppler_bandwidth
    drawn = draw_scene(scene, rng, lines, samples, stretch=samples / length, gain=gain)
    seen = _seen(parameters, drawn, rates, half)
    return seen if snr_db is None else replace(seen, raw=add_noise(seen.raw, snr_db, rng))


def point_lines(
    parameters: SarParameters,
    positions: ArrayLike,
    *,
    length: int,
    amplitudes: ArrayLike = 1.0,
    azimuth_rate: ArrayLike | None = None,
    half: int | None = None,
) -> Lines:
    """One isolated point a line, without clutter or noise: what width, sidelobes and phase are measured on.

    Args:
        parameters: the radar.
        positions: (N) in samples of the line, fractions allowed.
        length: L.
        amplitudes: complex, a number or (N).
        azimuth_rate: as `simulate_lines`.
        half: as `simulate_lines`.
    """
    places = np.atleast_1d(np.asarray(positions, float))
    lines = len(places)
    rates, half = _rates(parameters, lines, length, azimuth_rate, half)
    drawn = Scene(
        clutter=np.zeros((lines, length + 4 * half), np.complex128),
        point_line=np.arange(lines),
        point_position=places + 2 * half,
        point_amplitude=np.array(np.broadcast_to(np.asarray(amplitudes, complex), (lines,))),
    )
    return _seen(parameters, drawn, rates, half)


def add_noise(lines: Complex, snr_db: float, rng: np.random.Generator) -> Complex:
    """Thermal noise: white circular Gaussian, each line's mean power over it `snr_db`."""
    power = np.mean(np.abs(lines) ** 2, axis=-1, keepdims=True) * 10 ** (-snr_db / 10)
    return lines + np.sqrt(power) * speckle(rng, lines.shape)


def _rates(
    parameters: SarParameters, lines: int, length: int, rate: ArrayLike | None, half: int | None
) -> tuple[NDArray[np.float64], int]:
    """Azimuth rates (N) of N lines of L samples, and h."""
    rates = np.array(np.broadcast_to(parameters.rate if rate is None else rate, (lines,)), float)
    half = half_aperture(parameters, rates) if half is None else half
    if length <= 2 * half:
        raise InputError(f"length: expected more than one aperture ({2 * half + 1} samples), got {length}")
    return rates, half


def _seen(parameters: SarParameters, scene: Scene, rates: NDArray[np.float64], half: int) -> Lines:
    """Clutter convolved with the echo, points evaluated between samples."""
    long = overlapped(scene.clutter, impulse_response(parameters, rates, half))  # (N, L + 2h)
    # the echo of a point between two samples can touch one sample more than that of a point on one
    first = np.ceil(scene.point_position - half - 1).astype(np.int64)
    samples = first[:, None] + np.arange(2 * half + 3)
    lags = samples - scene.point_position[:, None]
    value = scene.point_amplitude[:, None] * echo(lags, parameters, rates[scene.point_line][:, None])
    place = samples - half  # raw starts h after the scene
    inside = (place >= 0) & (place < long.shape[1])
    owner = np.broadcast_to(scene.point_line[:, None], place.shape)
    np.add.at(long, (owner[inside], place[inside]), value[inside])
    raw = long[:, half : long.shape[1] - half]
    focused = overlapped(long, matched_filter(parameters, rates, half))
    return Lines(raw, focused, slice(half, raw.shape[1] - half))
