"""From what lies on the ground to range-compressed lines and their exact focus. No torch.

Clutter is one complex number a sample, white in azimuth: sqrt(sigma0) times circular Gaussian (fully developed speckle), sigma0
constant, a Gamma field (K distribution) or stepwise; points lie on all of it. Then, in one dimension: scene * echo -> raw, raw *
matched filter -> target, both by linear convolution over a stretch so much longer than the line that every sample shown, target
included, has its whole aperture.

Legend: N lines, L samples shown, h half aperture; the scene has S = L + 4h samples, the raw data L + 2h, the target L.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.tasks.sar.data.radar import (
    Complex,
    SarParameters,
    convolve_valid,
    echo,
    half_aperture,
    impulse_response,
    matched_filter,
)

TEXTURE_ORDER = (0.5, 4.0)  # of the Gamma texture: small is spiky, large is plain speckle
TEXTURE_LENGTH = (5.0, 50.0)  # its correlation length, samples
REGION_LENGTH = 100.0  # mean length of a region, samples
REGION_DEPTH_DB = 20.0  # their means lie between minus that and 0 dB
KINDS = ("homogeneous", "texture", "regions")


@configclass
class SceneConfig:
    """A mix of scenes: shares of the three kinds, and point targets on all of them."""

    homogeneous: float = Field(default=1.0, ge=0, description="share of lines with speckle of one mean")
    texture: float = Field(default=1.0, ge=0, description="share of lines with K-distributed clutter")
    regions: float = Field(default=1.0, ge=0, description="share of lines with steps in the mean (land, sea, fields)")
    points_min: int = Field(default=5, ge=0, description="fewest point targets a line")
    points_max: int = Field(default=50, ge=0, description="most point targets a line")
    scr_db_min: float = Field(default=10.0, description="peak of a focused point over the focused mean clutter, dB")
    scr_db_max: float = Field(default=40.0, description="the same, of the brightest points")

    def __post_init__(self) -> None:
        if self.homogeneous + self.texture + self.regions == 0:
            raise ValueError("homogeneous, texture, regions: expected a share above 0, got 0 for all")
        if self.points_min > self.points_max:
            raise ValueError(f"points_max: expected points_min or more, got {self.points_max}")


@dataclass(frozen=True)
class Scene:
    """N drawn lines. Positions are in samples from the start of the drawn stretch.

    Attributes:
        clutter: (N, S) complex128, mean power near 1.
        point_line: (P) which line a point is on.
        point_position: (P) real.
        point_amplitude: (P) complex.
    """

    clutter: NDArray[np.complex128]
    point_line: NDArray[np.int64]
    point_position: NDArray[np.float64]
    point_amplitude: NDArray[np.complex128]


def draw_scene(
    config: SceneConfig, rng: np.random.Generator, lines: int, samples: int, *, stretch: float = 1.0, gain: float = 1.0
) -> Scene:
    """Draw lines of a scene.

    Args:
        config: the mix.
        rng: the source of chance; nothing else is random.
        lines: N.
        samples: S.
        stretch: S over the samples that are shown; the number of points grows with it, so that as many are shown as asked for.
        gain: power that focusing lends to white clutter of power 1 (prf / bandwidth): the focused clutter that points stand over.

    Example:
        >>> scene = draw_scene(SceneConfig(points_max=5), np.random.default_rng(0), 3, 64)
        >>> scene.clutter.shape, len(scene.point_position)
        ((3, 64), 15)
    """
    shares = np.array([config.homogeneous, config.texture, config.regions])
    kinds = rng.choice(KINDS, size=lines, p=shares / shares.sum())
    texture = np.ones((lines, samples))
    for line, kind in enumerate(kinds):
        if kind == "texture":
            order, size = rng.uniform(*TEXTURE_ORDER), rng.uniform(*TEXTURE_LENGTH)
            texture[line] = gamma_texture(rng, samples, order=order, length=size)
        elif kind == "regions":
            texture[line] = stepwise(rng, samples, REGION_LENGTH, REGION_DEPTH_DB)
    clutter = np.sqrt(texture) * speckle(rng, (lines, samples))
    counts = np.round(rng.integers(np.full(lines, config.points_min), config.points_max + 1) * stretch).astype(np.int64)
    owner = np.repeat(np.arange(lines), counts)
    scr_db = rng.uniform(config.scr_db_min, config.scr_db_max, size=len(owner))
    level = texture.mean(axis=1) * gain
    return Scene(
        clutter=clutter,
        point_line=owner,
        point_position=rng.uniform(0, samples - 1, size=len(owner)),
        point_amplitude=np.sqrt(10 ** (scr_db / 10) * level[owner]) * np.exp(2j * np.pi * rng.uniform(size=len(owner))),
    )


def speckle(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Circular complex Gaussian of mean power 1: Rayleigh amplitude, uniform phase.

    Source: Goodman 1976, J. Opt. Soc. Am. 66(11), Some fundamental properties of speckle.
    """
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def gamma_texture(rng: np.random.Generator, samples: int, *, order: float, length: float) -> NDArray[np.float64]:
    """A correlated field whose every value is Gamma(order) of mean 1; times speckle it is K-distributed clutter.

    Args:
        rng: the source of chance.
        samples: S.
        order: shape of the Gamma; the normalized second moment of the intensity is 2 (1 + 1 / order).
        length: correlation length in samples: a Gaussian field smoothed over it, mapped to Gamma by its distribution function.

    Source: Ward, Tough, Watts 2006, Sea Clutter, ch. 5 (the memoryless non-linear transform).
    """
    from scipy.special import gammaincinv, ndtr

    frequency = np.fft.fftfreq(samples)
    # exp(-(pi f length)^2): a correlation of exp(-lag^2 / (2 length^2)) after the square below
    shape = np.exp(-((np.pi * frequency * length) ** 2))
    field = np.fft.ifft(np.fft.fft(rng.standard_normal(samples)) * shape).real
    field /= np.sqrt(np.mean(shape**2))
    share = np.clip(ndtr(field), 1e-12, 1 - 1e-12)
    values: NDArray[np.float64] = gammaincinv(order, share) / order
    return np.maximum(values, 1e-12)


def stepwise(rng: np.random.Generator, samples: int, mean_length: float, depth_db: float) -> NDArray[np.float64]:
    """A mean power that jumps at random places, between minus `depth_db` and 0 dB."""
    edges = rng.uniform(size=samples) < 1 / mean_length
    region = np.cumsum(edges)
    levels = 10 ** (-rng.uniform(0, depth_db, size=int(region[-1]) + 1) / 10)
    return levels[region]


# ---------------------------------------------------------------------------------------------- lines


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
    long = convolve_valid(scene.clutter, impulse_response(parameters, rates, half))  # (N, L + 2h)
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
    focused = convolve_valid(long, matched_filter(parameters, rates, half))
    return Lines(raw, focused, slice(half, raw.shape[1] - half))
