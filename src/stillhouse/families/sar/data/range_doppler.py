"""Two dimensions, for cross-checks: exact point targets with range cell migration, and the range-Doppler steps that undo it.

Legend: rows are azimuth (M), columns are range (R). Point targets are evaluated in the time domain at their exact distance, so
nothing here shares an approximation with the one-dimensional generator but the radar equation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError
from stillhouse.families.sar.data.matched_filter import ONE_WAY_EDGE, Complex, filtered, matched_filter
from stillhouse.families.sar.data.parameters import SPEED_OF_LIGHT, SarParameters


@dataclass(frozen=True)
class Point:
    """A point target: azimuth row and range column (fractions allowed) of its closest approach, and its complex amplitude."""

    row: float
    column: float
    amplitude: complex = 1.0


def range_spacing(parameters: SarParameters) -> float:
    """Metres of slant range from column to column: c / (2 fs)."""
    return SPEED_OF_LIGHT / (2 * parameters.range_sampling)


def migration(parameters: SarParameters, seconds: ArrayLike) -> NDArray[np.float64]:
    """Metres by which a point is farther away at an azimuth time than at its closest.

    Example:
        Sentinel-1 over half an aperture: 1.7 range cells of 1.5 m.

        >>> from stillhouse.families.sar.data.parameters import preset
        >>> s1 = preset("sentinel-1")
        >>> round(float(migration(s1, s1.aperture_seconds / 2)), 2)
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
        seen = np.abs(seconds) <= parameters.aperture_seconds / 2 * (1 + 1e-12)
        weight = seen * np.exp(-4j * np.pi * farther / parameters.wavelength)
        if parameters.antenna == "sinc2":
            weight = weight * np.sinc(2 * ONE_WAY_EDGE * seconds / parameters.aperture_seconds) ** 2
        shift = farther / range_spacing(parameters) if with_migration else np.zeros(rows)
        offset = np.arange(columns)[None, :] - point.column - shift[:, None]
        found += point.amplitude * weight[:, None] * np.sinc(density * offset)
    return found


def migration_corrected(parameters: SarParameters, data: Complex, *, backwards: bool = False) -> Complex:
    """Shift every Doppler line back by R0 (1 / D - 1), D = sqrt(1 - (wavelength f / 2 Vr)^2): level `rc` to `rcmc`.

    Args:
        parameters: the radar.
        data: (M, R) range compressed; edges wrap round, so points should be an aperture and a few cells away from them.
        backwards: put the migration in again, `rcmc` to `rc`: the exact inverse.

    Source: Cumming & Wong 2005, ch. 6.4 (range-Doppler algorithm).
    """
    if data.ndim != 2:
        raise InputError(f"data: expected (azimuth, range), got shape {data.shape}")
    doppler = np.fft.fftfreq(data.shape[0]) * parameters.prf
    cosine = np.sqrt(1 - (parameters.wavelength * doppler / (2 * parameters.velocity)) ** 2)
    cells = parameters.distance * (1 / cosine - 1) / range_spacing(parameters)
    ramp = np.exp(2j * np.pi * cells[:, None] * np.fft.fftfreq(data.shape[1])[None, :])
    return np.fft.ifft2(np.fft.fft2(data) * (ramp.conj() if backwards else ramp))


def pulse_compressed(parameters: SarParameters, data: Complex, seconds: float, *, backwards: bool = False) -> Complex:
    """The phase of the transmitted chirp taken off every range line: level `raw` to `rc`.

    Args:
        parameters: the radar; its `range_bandwidth` is swept in `seconds`.
        data: (M, R) echoes; edges wrap round.
        seconds: length of the pulse.
        backwards: put the chirp in again, `rc` to `raw`: the exact inverse, since a phase alone is changed.

    Source: Cumming & Wong 2005, ch. 3.4 (matched filter of a linear FM pulse, by its stationary phase).
    """
    if data.ndim != 2 or seconds <= 0:
        raise InputError(f"data: expected (azimuth, range) and a pulse above 0 s, got {data.shape} and {seconds:g} s")
    hertz = np.fft.fftfreq(data.shape[1]) * parameters.range_sampling
    turned = np.exp(1j * np.pi * hertz**2 * seconds / parameters.range_bandwidth)
    return np.fft.ifft(np.fft.fft(data, axis=1) * (turned.conj() if backwards else turned), axis=1)


def azimuth_compressed(parameters: SarParameters, data: Complex) -> Complex:
    """The matched filter down every column: level `rcmc` (or `rc`) to `az`."""
    return np.ascontiguousarray(filtered(data.T, matched_filter(parameters)).T)
