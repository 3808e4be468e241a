"""The numbers of a radar that decide what azimuth focusing is: pulse rate, Doppler bandwidth, azimuth rate. No torch, no arrays.

A point at azimuth time 0 leaves, pulse by pulse, the echo w(t) exp(-j pi Ka t^2): a chirp of rate Ka that sweeps the Doppler
bandwidth Bd in the aperture time Ta = Bd / Ka. Everything else follows from that.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass

SPEED_OF_LIGHT = 299_792_458.0  # m/s
SLANT_RANGE = 800e3  # m, of a satellite
UNWEIGHTED_IRW = 0.8859  # 3 dB width of sinc, in units of 1 / bandwidth


@configclass
class SarParameters:
    """A zero-squint stripmap radar. The slant range or the azimuth rate is given (800 km where neither is); the other follows.

    Example:
        The worked check of Sentinel-1's stripmap: 973 pulses an aperture, a time-bandwidth product of 744.

        >>> s1 = preset("sentinel-1")
        >>> s1.taps, round(s1.time_bandwidth), round(s1.spacing, 2)
        (973, 744, 4.0)

    Source: Cumming & Wong 2005, Digital Processing of Synthetic Aperture Radar Data, ch. 4.
    """

    prf: float = Field(default=1690.0, gt=0, description="pulses a second, Hz")
    doppler_bandwidth: float = Field(default=1300.0, gt=0, description="Doppler bandwidth that is processed, Hz")
    slant_range: float | None = Field(default=None, gt=0, description="closest distance to the scene, m [800 km]")
    azimuth_rate: float | None = Field(default=None, gt=0, description="Ka, Hz/s, in place of the slant range")
    velocity: float = Field(default=7100.0, gt=0, description="effective radar velocity Vr, m/s")
    ground_velocity: float = Field(default=6800.0, gt=0, description="of the beam on the ground, m/s: spacing of lines")
    wavelength: float = Field(default=SPEED_OF_LIGHT / 5.405e9, gt=0, description="of the carrier, m")
    antenna: Literal["rect", "sinc2"] = Field(
        default="rect",
        description="two-way amplitude over the aperture; sinc2: a uniform antenna, one-way 3 dB down at the edge",
    )
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
        if self.range_sampling < self.range_bandwidth:
            raise ValueError(
                f"range_sampling: expected at least range_bandwidth ({self.range_bandwidth:g} Hz), got {self.range_sampling:g}"
            )
        if self.aperture_samples < 3:
            raise ValueError(
                f"aperture: expected 3 pulses or more, got {self.aperture_samples:.2f} (prf * doppler_bandwidth / azimuth rate)"
            )

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
    def aperture_seconds(self) -> float:
        """Ta: how long a point is seen."""
        return self.doppler_bandwidth / self.rate

    @property
    def aperture_samples(self) -> float:
        """Pulses in an aperture, not rounded."""
        return self.prf * self.doppler_bandwidth / self.rate

    @property
    def taps(self) -> int:
        """Taps of the matched filter: odd, so that the point is in the middle of one."""
        return 2 * math.floor(self.aperture_samples / 2 + 1e-9) + 1

    @property
    def time_bandwidth(self) -> float:
        """Ta * Bd: how many samples of the scene one pulse mixes, about twice the order that a linear model needs."""
        return self.doppler_bandwidth * self.aperture_seconds

    @property
    def oversampling(self) -> float:
        """prf / doppler_bandwidth."""
        return self.prf / self.doppler_bandwidth

    @property
    def spacing(self) -> float:
        """Metres on the ground from line to line."""
        return self.ground_velocity / self.prf

    @property
    def resolution(self) -> float:
        """The 3 dB width that theory gives an unweighted focus, in samples."""
        return UNWEIGHTED_IRW * self.oversampling


def _toy(aperture: int) -> SarParameters:
    prf, bandwidth = 1690.0, 1300.0
    return SarParameters(prf=prf, doppler_bandwidth=bandwidth, azimuth_rate=prf * bandwidth / aperture)


PRESETS: dict[str, SarParameters] = {
    "toy-64": _toy(64),
    "toy-128": _toy(128),
    "toy-256": _toy(256),
    "sentinel-1": SarParameters(prf=1700.0, doppler_bandwidth=1300.0, slant_range=800e3),
}


def preset(name: str) -> SarParameters:
    """A set of parameters by name: `toy-64`, `toy-128`, `toy-256` (pulses an aperture), `sentinel-1`.

    The toys are the same physics from a shorter distance: prf / bandwidth stays 1.3, only the aperture shrinks, so that a CPU
    trains on them in minutes.

    Raises:
        InputError: no such set.

    Example:
        >>> preset("toy-64").taps, round(preset("toy-64").time_bandwidth, 1)
        (65, 49.2)
    """
    if name not in PRESETS:
        raise InputError(f"preset: no {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]
