"""The range-Doppler steps between the levels of a product.

Legend: rows are azimuth (M), columns are range (R).
"""

from __future__ import annotations

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.matched_filter import Complex
from stillhouse.tasks.sar.data.parameters import SPEED_OF_LIGHT, SarParameters


def range_spacing(parameters: SarParameters) -> float:
    """Metres of slant range from column to column: c / (2 fs)."""
    return SPEED_OF_LIGHT / (2 * parameters.range_sampling)


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
