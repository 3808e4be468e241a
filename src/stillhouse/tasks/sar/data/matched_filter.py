"""The echo of a point and the filter that focuses it, exactly as sampled.

Legend: lines are (..., M) complex along azimuth; K taps, odd, the middle one is lag 0; `half` = (K - 1) / 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.data.parameters import SarParameters

Complex = NDArray[np.complex128]
ONE_WAY_EDGE = 0.4430  # sinc(0.443) is -3 dB: the antenna's beam ends where the processed band ends


def echo(
    lag: ArrayLike,
    parameters: SarParameters,
    *,
    azimuth_rate: ArrayLike | None = None,
    doppler_centroid: ArrayLike = 0.0,
) -> Complex:
    """What a unit point leaves `lag` samples after its own position: w(t) exp(-j pi Ka t^2), 0 outside the aperture.

    Evaluated in the time domain at any real lag, so points between samples are exact, not interpolated.

    Args:
        lag: azimuth sample minus the point's position, in samples; any shape.
        parameters: the radar.
        azimuth_rate: Ka in Hz/s, where it is not that of the parameters; broadcasts against `lag`.
        doppler_centroid: Hz; a beam that looks ahead sees the point earlier: the aperture moves to t = -centroid / Ka, the phase
            stays, and the focus stays at lag 0.

    Returns:
        Complex, of the broadcast shape.

    Example:
        At half an aperture the phase is pi Bd^2 / (4 Ka), and beyond it there is nothing.

        >>> toy = SarParameters(prf=1300, doppler_bandwidth=1300, azimuth_rate=1300 * 1300 / 8)
        >>> np.round(echo([0, 4, 4.1], toy) + 0, 6).tolist()
        [(1+0j), (1+0j), 0j]
    """
    lags = np.asarray(lag, np.float64)
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)
    aperture = parameters.prf * parameters.doppler_bandwidth / rate
    from_middle = lags + np.asarray(doppler_centroid, np.float64) * parameters.prf / rate
    inside = np.abs(from_middle) <= aperture / 2 + 1e-9
    weight = inside.astype(np.float64)
    if parameters.antenna == "sinc2":
        weight = weight * np.sinc(2 * ONE_WAY_EDGE * from_middle / aperture) ** 2
    return weight * np.exp(-1j * np.pi * rate * (lags / parameters.prf) ** 2)


def half_aperture(
    parameters: SarParameters, *, azimuth_rate: ArrayLike | None = None, doppler_centroid: ArrayLike = 0.0
) -> int:
    """How many samples the echo reaches to either side at most, over all the rates and centroids given."""
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)
    reach = parameters.prf * (parameters.doppler_bandwidth / 2 + np.abs(np.asarray(doppler_centroid))) / rate
    return math.floor(float(np.max(reach)) + 1e-9)


def impulse_response(
    parameters: SarParameters,
    *,
    azimuth_rate: ArrayLike | None = None,
    doppler_centroid: ArrayLike = 0.0,
    half: int | None = None,
) -> Complex:
    """The echo of a point on a sample, (..., K): what a scene is convolved with.

    Args:
        parameters: the radar.
        azimuth_rate: Ka, a number or (...), one a line.
        doppler_centroid: Hz, a number or (...).
        half: (K - 1) / 2, where lines of several rates need one length; what the echo reaches where not given.

    Raises:
        InputError: `half` cuts the echo off.

    Example:
        >>> from stillhouse.tasks.sar.data.parameters import preset
        >>> impulse_response(preset("sentinel-1")).shape
        (973,)
    """
    reach = half_aperture(parameters, azimuth_rate=azimuth_rate, doppler_centroid=doppler_centroid)
    if half is None:
        half = reach
    elif half < reach:
        raise InputError(f"half: expected at least {reach}, the reach of the echo, got {half}")
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)[..., None]
    centroid = np.asarray(doppler_centroid, np.float64)[..., None]
    return echo(np.arange(-half, half + 1), parameters, azimuth_rate=rate, doppler_centroid=centroid)


def matched_filter(
    parameters: SarParameters,
    *,
    azimuth_rate: ArrayLike | None = None,
    doppler_centroid: ArrayLike = 0.0,
    half: int | None = None,
) -> Complex:
    """The filter (..., K) that focuses: the echo reversed and conjugated, over its energy, so that a unit point peaks at 1.

    Its arguments are those of `impulse_response`.

    Example:
        A focused unit point: 1 at its place.

        >>> from stillhouse.tasks.sar.data.parameters import preset
        >>> toy = preset("toy-64")
        >>> line = np.zeros(257, complex)
        >>> line[128 - 32 : 128 + 33] = impulse_response(toy)
        >>> focused = filtered(line, matched_filter(toy))
        >>> int(np.abs(focused).argmax()), complex(np.round(focused[128], 9))
        (128, (1+0j))
    """
    response = impulse_response(parameters, azimuth_rate=azimuth_rate, doppler_centroid=doppler_centroid, half=half)
    energy = np.sum(np.abs(response) ** 2, axis=-1, keepdims=True)
    return np.conj(response[..., ::-1]) / energy


def filtered(lines: ArrayLike, kernels: ArrayLike) -> Complex:
    """Linear convolution along the last axis, same length: what lies outside a line is 0, nothing wraps round.

    Args:
        lines: (..., M).
        kernels: (K) or (..., K), one a line; K odd, the middle tap is lag 0.

    Returns:
        (..., M). The first and last (K - 1) / 2 samples lack a part of the aperture.

    Raises:
        InputError: an even number of taps (there would be no middle).
    """
    signal, taps = np.asarray(lines), np.asarray(kernels)
    length, width = signal.shape[-1], taps.shape[-1]
    if width % 2 == 0:
        raise InputError(f"kernels: expected an odd number of taps, got {width}")
    size = fft.next_fast_len(length + width - 1)
    product = fft.fft(signal.astype(np.complex128), size) * fft.fft(taps.astype(np.complex128), size)
    return fft.ifft(product)[..., width // 2 : width // 2 + length]
