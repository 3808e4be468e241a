"""What lies on the ground: speckle, texture, regions, points; drawn from a seed. NumPy only.

Legend: N lines, S samples along azimuth. Clutter is one complex number a sample, white in azimuth: sqrt(sigma0) times circular
Gaussian (fully developed speckle), with sigma0 constant, a Gamma field (K distribution) or stepwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stillhouse.core.config import configclass

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
