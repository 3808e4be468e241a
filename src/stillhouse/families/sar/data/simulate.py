"""From a scene to range-compressed lines and their exact focus.

One dimension: scene * echo -> raw, raw * matched filter -> target, both by linear convolution over a stretch so much longer than
the line that every sample shown, target included, has its whole aperture.

Legend: N lines, L samples shown, h half aperture; the scene has L + 4h samples, the raw data L + 2h, the target L.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from stillhouse.core.checks import InputError
from stillhouse.families.sar.data.matched_filter import echo, half_aperture, impulse_response, matched_filter
from stillhouse.families.sar.data.parameters import SarParameters
from stillhouse.families.sar.data.scene import KINDS, Scene, SceneConfig, draw_scene, speckle

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Lines:
    """N simulated lines.

    Attributes:
        raw: (N, L) range-compressed data, with thermal noise where asked for.
        clean: (N, L) the same without noise.
        focused: (N, L) the exact discrete matched filter of the noise-free data, from all of the data: the ground truth.
        valid: the samples whose whole aperture lies inside the L samples of `raw`: only there can any model reach `focused`.
        azimuth_rate: (N) Ka, Hz/s.
        doppler_centroid: (N) Hz.
        kinds: (N) index into `scene.KINDS`.
        point_amplitude: (P) complex: what the focus of each point target peaks at.
    """

    raw: Complex
    clean: Complex
    focused: Complex
    valid: slice
    azimuth_rate: NDArray[np.float64]
    doppler_centroid: NDArray[np.float64]
    kinds: NDArray[np.int64]
    point_amplitude: Complex


@dataclass(frozen=True)
class Motion:
    """How the radar passes its lines; as its parameters have it where nothing is given.

    Attributes:
        azimuth_rate: Ka, a number or (N).
        doppler_centroid: Hz, a number or (N).
        half: h, where several calls must share one valid region.
    """

    azimuth_rate: ArrayLike | None = None
    doppler_centroid: ArrayLike = 0.0
    half: int | None = None


STRAIGHT = Motion()


def simulate_lines(
    parameters: SarParameters,
    scene: SceneConfig,
    rng: np.random.Generator,
    *,
    lines: int,
    length: int,
    snr_db: float | None = None,
    motion: Motion = STRAIGHT,
) -> Lines:
    """Draw scenes and let the radar see them.

    Args:
        parameters: the radar.
        scene: the mix of scenes.
        rng: the source of chance.
        lines: N.
        length: L.
        snr_db: mean power of a line's noise-free raw data over the power of the noise, dB; no noise where not given.
        motion: rates and centroids of the lines.

    Raises:
        InputError: a line shorter than the aperture.

    Example:
        >>> from stillhouse.families.sar.data.parameters import preset
        >>> drawn = simulate_lines(preset("toy-64"), SceneConfig(), np.random.default_rng(0), lines=2, length=128)
        >>> drawn.raw.shape, drawn.valid
        ((2, 128), slice(32, 96, None))
    """
    look = _Look.of(parameters, lines, length, motion)
    samples = length + 4 * look.half
    drawn = draw_scene(scene, rng, lines, samples, stretch=samples / length, gain=parameters.oversampling)
    seen = _seen(parameters, drawn, look)
    return seen if snr_db is None else replace(seen, raw=add_noise(seen.clean, snr_db, rng))


def point_lines(
    parameters: SarParameters,
    positions: ArrayLike,
    *,
    length: int,
    amplitudes: ArrayLike = 1.0,
    motion: Motion = STRAIGHT,
) -> Lines:
    """One isolated point a line, without clutter or noise: what IRW, PSLR and phase are measured on.

    Args:
        parameters: the radar.
        positions: (N) in samples of the line, fractions allowed.
        length: L.
        amplitudes: complex, a number or (N).
        motion: rates and centroids of the lines.

    Raises:
        InputError: a line shorter than the aperture, a position off the line.
    """
    places = np.atleast_1d(np.asarray(positions, float))
    lines = len(places)
    if not ((places >= 0) & (places <= length - 1)).all():
        raise InputError(f"positions: expected 0 to {length - 1}, got {places.min():g} to {places.max():g}")
    look = _Look.of(parameters, lines, length, motion)
    drawn = Scene(
        clutter=np.zeros((lines, length + 4 * look.half), np.complex128),
        kinds=np.full(lines, KINDS.index("points")),
        point_line=np.arange(lines),
        point_position=places + 2 * look.half,
        point_amplitude=np.array(np.broadcast_to(np.asarray(amplitudes, complex), (lines,))),
    )
    return _seen(parameters, drawn, look)


def see(
    parameters: SarParameters,
    scene: Scene,
    *,
    azimuth_rate: NDArray[np.float64],
    doppler_centroid: NDArray[np.float64],
    half: int,
) -> Complex:
    """Noise-free raw data (N, S - 2h) of a scene (N, S): clutter convolved with the echo, points evaluated between samples."""
    responses = impulse_response(parameters, azimuth_rate=azimuth_rate, doppler_centroid=doppler_centroid, half=half)
    raw = _inside(scene.clutter, responses)
    length = raw.shape[1]
    # the echo of a point between two samples can touch one sample more than that of a point on one
    first = np.ceil(scene.point_position - half - 1).astype(np.int64)
    samples = first[:, None] + np.arange(2 * half + 3)
    value = scene.point_amplitude[:, None] * echo(
        samples - scene.point_position[:, None],
        parameters,
        azimuth_rate=azimuth_rate[scene.point_line][:, None],
        doppler_centroid=doppler_centroid[scene.point_line][:, None],
    )
    place = samples - half  # raw starts h after the scene
    inside = (place >= 0) & (place < length)
    owner = np.broadcast_to(scene.point_line[:, None], place.shape)
    np.add.at(raw, (owner[inside], place[inside]), value[inside])
    return raw


def add_noise(lines: Complex, snr_db: float, rng: np.random.Generator) -> Complex:
    """Thermal noise: white circular Gaussian, each line's mean power over it `snr_db`."""
    power = np.mean(np.abs(lines) ** 2, axis=-1, keepdims=True) * 10 ** (-snr_db / 10)
    return lines + np.sqrt(power) * speckle(rng, lines.shape)


def _inside(lines: Complex, kernels: Complex) -> Complex:
    """(N, M) and (N, K) -> (N, M - K + 1): the convolution where both overlap fully."""
    length, taps = lines.shape[-1], kernels.shape[-1]
    size = fft.next_fast_len(length + taps - 1)
    return fft.ifft(fft.fft(lines, size) * fft.fft(kernels, size))[..., taps - 1 : length]


@dataclass(frozen=True)
class _Look:
    """How the radar looks at N lines of L samples."""

    length: int
    half: int
    rate: NDArray[np.float64]
    centroid: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: SarParameters, lines: int, length: int, motion: Motion) -> _Look:
        given = parameters.rate if motion.azimuth_rate is None else motion.azimuth_rate
        rate = np.array(np.broadcast_to(given, (lines,)), float)
        centroid = np.array(np.broadcast_to(motion.doppler_centroid, (lines,)), float)
        reach = motion.half
        if reach is None:
            reach = half_aperture(parameters, azimuth_rate=rate, doppler_centroid=centroid)
        if length <= 2 * reach:
            raise InputError(f"length: expected at least one aperture ({2 * reach + 1} samples), got {length}")
        return cls(length, reach, rate, centroid)


def _seen(parameters: SarParameters, scene: Scene, look: _Look) -> Lines:
    half, length, how = look.half, look.length, {"azimuth_rate": look.rate, "doppler_centroid": look.centroid}
    long = see(parameters, scene, half=half, **how)
    clean = long[:, half : half + length]
    return Lines(
        raw=clean,
        clean=clean,
        focused=_inside(long, matched_filter(parameters, half=half, **how)),
        valid=slice(half, length - half),
        azimuth_rate=look.rate,
        doppler_centroid=look.centroid,
        kinds=scene.kinds,
        point_amplitude=scene.point_amplitude,
    )
