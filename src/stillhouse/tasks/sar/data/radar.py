"""A radar, the echo of a point that it sees, and the filter that focuses it, exactly as sampled. No torch.

A point at azimuth time 0 leaves, pulse by pulse, the echo exp(-j pi Ka t^2): a chirp of rate Ka that sweeps the Doppler bandwidth
Bd in the aperture time Bd / Ka. Everything else follows from that.

Legend: lines are (..., M) complex along azimuth; K taps, odd, the middle one is lag 0; `half` = (K - 1) / 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy import fft

from stillhouse.core.config import configclass

Complex = NDArray[np.complex128]
SPEED_OF_LIGHT = 299_792_458.0  # m/s
SLANT_RANGE = 800e3  # m, of a satellite


@configclass
class SarParameters:
    """A zero-squint stripmap radar. The slant range or the azimuth rate is given (800 km where neither is); the other follows.

    Example:
        Sentinel-1's stripmap: 973 pulses an aperture.

        >>> round(preset("sentinel-1").aperture_samples)
        973

    Source: Cumming & Wong 2005, Digital Processing of Synthetic Aperture Radar Data, ch. 4.
    """

    prf: float = Field(default=1690.0, gt=0, description="pulses a second, Hz")
    doppler_bandwidth: float = Field(default=1300.0, gt=0, description="Doppler bandwidth that is processed, Hz")
    slant_range: float | None = Field(default=None, gt=0, description="closest distance to the scene, m [800 km]")
    azimuth_rate: float | None = Field(default=None, gt=0, description="Ka, Hz/s, in place of the slant range")
    velocity: float = Field(default=7100.0, gt=0, description="effective radar velocity Vr, m/s")
    wavelength: float = Field(default=SPEED_OF_LIGHT / 5.405e9, gt=0, description="of the carrier, m")
    range_bandwidth: float = Field(default=87.6e6, gt=0, description="of the transmitted chirp, Hz")
    range_sampling: float = Field(default=100.1e6, gt=0, description="range samples a second, Hz")

    def __post_init__(self) -> None:
        if self.slant_range is not None and self.azimuth_rate is not None:
            raise ValueError("slant_range, azimuth_rate: expected at most one of them, got both")
        if self.prf < self.doppler_bandwidth:
            raise ValueError(
                f"prf: expected at least doppler_bandwidth ({self.doppler_bandwidth:g} Hz), got {self.prf:g}: "
                "the Doppler spectrum would fold onto itself"
            )
        if self.aperture_samples < 3:
            raise ValueError(f"aperture: expected 3 pulses or more, got {self.aperture_samples:.2f}")

    @property
    def rate(self) -> float:
        """Ka in Hz/s: 2 Vr^2 / (wavelength * slant range)."""
        if self.azimuth_rate is not None:
            return self.azimuth_rate
        return 2 * self.velocity**2 / (self.wavelength * self.distance)

    @property
    def distance(self) -> float:
        """Slant range in m, given or from the azimuth rate."""
        if self.azimuth_rate is not None:
            return 2 * self.velocity**2 / (self.wavelength * self.azimuth_rate)
        return SLANT_RANGE if self.slant_range is None else self.slant_range

    @property
    def aperture_samples(self) -> float:
        """Pulses in an aperture, not rounded."""
        return self.prf * self.doppler_bandwidth / self.rate


def _toy(aperture: int) -> SarParameters:
    prf, bandwidth = 1690.0, 1300.0
    return SarParameters(prf=prf, doppler_bandwidth=bandwidth, azimuth_rate=prf * bandwidth / aperture)


PRESETS: dict[str, SarParameters] = {
    "toy-64": _toy(64),
    "toy-128": _toy(128),
    "toy-256": _toy(256),
    "sentinel-1": SarParameters(prf=1700.0, doppler_bandwidth=1300.0, slant_range=800e3),
}
"""`toy-N` have N pulses an aperture: the same physics from a shorter distance, so that a CPU trains on them in minutes."""


def preset(name: str) -> SarParameters:
    """A radar of `PRESETS`."""
    return PRESETS[name]


def echo(lag: ArrayLike, parameters: SarParameters, azimuth_rate: ArrayLike | None = None) -> Complex:
    """What a unit point leaves `lag` samples after its own position: exp(-j pi Ka t^2), 0 outside the aperture.

    Evaluated in the time domain at any real lag, so points between samples are exact, not interpolated.

    Args:
        lag: azimuth sample minus the point's position, in samples; any shape.
        parameters: the radar.
        azimuth_rate: Ka in Hz/s, where it is not that of the parameters; broadcasts against `lag`.

    Example:
        At half an aperture the phase is pi Bd^2 / (4 Ka), and beyond it there is nothing.

        >>> toy = SarParameters(prf=1300, doppler_bandwidth=1300, azimuth_rate=1300 * 1300 / 8)
        >>> np.round(echo([0, 4, 4.1], toy) + 0, 6).tolist()
        [(1+0j), (1+0j), 0j]
    """
    lags = np.asarray(lag, np.float64)
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)
    aperture = parameters.prf * parameters.doppler_bandwidth / rate
    inside = np.abs(lags) <= aperture / 2 + 1e-9
    return inside.astype(np.float64) * np.exp(-1j * np.pi * rate * (lags / parameters.prf) ** 2)


def half_aperture(parameters: SarParameters, azimuth_rate: ArrayLike | None = None) -> int:
    """How many samples the echo reaches to either side at most, over all the rates given."""
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)
    return math.floor(float(np.max(parameters.prf * (parameters.doppler_bandwidth / 2) / rate)) + 1e-9)


def impulse_response(
    parameters: SarParameters, azimuth_rate: ArrayLike | None = None, half: int | None = None
) -> Complex:
    """The echo of a point on a sample, (..., K): what a scene is convolved with.

    Args:
        parameters: the radar.
        azimuth_rate: Ka, a number or (...), one a line.
        half: (K - 1) / 2, where lines of several rates need one length; what the echo reaches where not given.
    """
    if half is None:
        half = half_aperture(parameters, azimuth_rate)
    rate = np.asarray(parameters.rate if azimuth_rate is None else azimuth_rate, np.float64)[..., None]
    return echo(np.arange(-half, half + 1), parameters, rate)


def matched_filter(
    parameters: SarParameters, azimuth_rate: ArrayLike | None = None, half: int | None = None
) -> Complex:
    """The filter (..., K) that focuses: the echo reversed and conjugated, over its energy, so that a unit point peaks at 1.

    Its arguments are those of `impulse_response`.
    """
    response = impulse_response(parameters, azimuth_rate, half)
    energy = np.sum(np.abs(response) ** 2, axis=-1, keepdims=True)
    return np.conj(response[..., ::-1]) / energy


def convolve_lines(lines: ArrayLike, kernels: ArrayLike) -> Complex:
    """Linear convolution along the last axis, same length: what lies outside a line is 0, nothing wraps round.

    Args:
        lines: (..., M).
        kernels: (K) or (..., K), one a line; K odd, the middle tap is lag 0.

    Returns:
        (..., M). The first and last (K - 1) / 2 samples lack a part of the aperture.
    """
    signal, taps = np.asarray(lines), np.asarray(kernels)
    length, width = signal.shape[-1], taps.shape[-1]
    return _product(signal.astype(np.complex128), taps.astype(np.complex128))[..., width // 2 : width // 2 + length]


def convolve_valid(lines: Complex, kernels: Complex) -> Complex:
    """(N, M) and (N, K) -> (N, M - K + 1): the convolution where both overlap fully."""
    return _product(lines, kernels)[..., kernels.shape[-1] - 1 : lines.shape[-1]]


def _product(lines: Complex, kernels: Complex) -> Complex:
    size = fft.next_fast_len(lines.shape[-1] + kernels.shape[-1] - 1)
    return fft.ifft(fft.fft(lines, size) * fft.fft(kernels, size))
