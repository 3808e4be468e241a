"""Exact point targets with range cell migration, evaluated in the time domain at their exact distance.

Nothing here shares an approximation with the one-dimensional generator but the radar equation.
Rows are azimuth (M), columns range (R).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.tasks.sar.data.products import range_spacing
from stillhouse.tasks.sar.data.radar import Complex, SarParameters, convolve_lines, matched_filter


@dataclass(frozen=True)
class Point:
    """A point target: azimuth row and range column (fractions allowed) of its closest approach, and its complex amplitude."""

    row: float
    column: float
    amplitude: complex = 1.0


def migration(parameters: SarParameters, seconds: ArrayLike) -> NDArray[np.float64]:
    """Metres by which a point is farther away at an azimuth time than at its closest.

    Example:
        Sentinel-1 over half an aperture: 1.7 range cells of 1.5 m.

        >>> from stillhouse.tasks.sar.data.radar import preset
        >>> s1 = preset("sentinel-1")
        >>> round(float(migration(s1, s1.aperture_samples / s1.prf / 2)), 2)
        2.58
    """
    near = parameters.distance
    return np.sqrt(near**2 + (parameters.velocity * np.asarray(seconds, np.float64)) ** 2) - near


def range_compressed(
    parameters: SarParameters, points: Sequence[Point], *, rows: int, columns: int, with_migration: bool = True
) -> Complex:
    """Range-compressed echoes (rows, columns) of point targets: a sinc in range that wanders with the distance.

    Args:
        parameters: the radar; the phase is that of the exact distance, not of the parabola.
        points: what is on the ground.
        rows: M, azimuth.
        columns: R, range.
        with_migration: False holds the envelope still, as after a perfect migration correction.

    Returns:
        (M, R); the phase of the closest distance is left out, so that a focus has the phase of its amplitude.
    """
    found = np.zeros((rows, columns), np.complex128)
    density = parameters.range_bandwidth / parameters.range_sampling
    for point in points:
        seconds = (np.arange(rows) - point.row) / parameters.prf
        farther = migration(parameters, seconds)
        seen = np.abs(seconds) <= parameters.aperture_samples / parameters.prf / 2 * (1 + 1e-12)
        weight = seen * np.exp(-4j * np.pi * farther / parameters.wavelength)
        shift = farther / range_spacing(parameters) if with_migration else np.zeros(rows)
        offset = np.arange(columns)[None, :] - point.column - shift[:, None]
        found += point.amplitude * weight[:, None] * np.sinc(density * offset)
    return found


def azimuth_compressed(parameters: SarParameters, data: Complex) -> Complex:
    """The matched filter down every column: level `rcmc` (or `rc`) to `az`."""
    return np.ascontiguousarray(convolve_lines(data.T, matched_filter(parameters)).T)
