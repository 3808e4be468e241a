"""The response to an isolated point, as radar people judge a focus: width, sidelobes, place, phase.

Legend: L azimuth samples of one line. Between samples the line follows its spectrum (band-limited interpolation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.metrics.lines import Complex, as_complex

FINE = 16  # places between two samples; the peak and the half-power points are refined beyond that
EXTENT = 20.0  # widths within which sidelobes count
SEARCH = 8.0  # samples around the expected place in which the peak is looked for


@dataclass(frozen=True)
class PointResponse:
    """What one point looks like after focusing.

    Attributes:
        irw: impulse response width, at half the peak's power, in samples; times the spacing in metres.
        pslr_db: highest sidelobe (outside the first nulls) over the peak, dB.
        islr_db: energy of the sidelobes within 20 widths of the peak over that of the main lobe, dB.
        position: of the peak, in samples from the line's start.
        peak: complex value there.
    """

    irw: float
    pslr_db: float
    islr_db: float
    position: float
    peak: complex


def measure_point(line: Any, *, near: float | None = None) -> PointResponse:
    """Measure the response to a point.

    Args:
        line: (L) complex, focused; the point should lie at least 20 widths from the ends.
        near: where the point should be, in samples; the peak is looked for within 8 samples of it. The brightest of the line
            where not given.

    Returns:
        The measured response.

    Raises:
        InputError: not one complex line of 8 samples or more, NaN, silence, a peak without a null or a
            half-power point on both sides (no peak at all, or one at the end of the line).

    Example:
        A sinc of bandwidth 1 / 1.3: 0.886 * 1.3 samples wide, first sidelobe at -13.26 dB.

        >>> focus = np.sinc((np.arange(512) - 256.3) / 1.3) + 0j
        >>> point = measure_point(focus)
        >>> round(point.irw, 2), round(point.pslr_db, 1), round(point.position, 2)
        (1.15, -13.3, 256.3)

    Source: Cumming & Wong 2005, ch. 2.9; ESA PE-TN-ESA-GS-0002 (quality of point targets).
    """
    values = as_complex("line", line)
    if values.ndim != 1 or values.size < 8:
        raise InputError(f"line: expected one line of 8 samples or more, got shape {values.shape}")
    if not np.isfinite(values).all() or not np.abs(values).any():
        raise InputError("line: expected finite numbers and a signal, got NaN, infinity or zeros only")
    power = np.abs(upsampled(values, FINE)) ** 2
    at = _brightest(power, near, FINE)
    left, right = _nulls(power, at)
    offset, top = _vertex(power, at)
    half, places = top / 2, np.arange(len(power))
    if max(power[left], power[right]) >= half:
        raise InputError("line: expected a half-power point on both sides of the peak, got none")
    rising, falling = slice(left, at + 1), slice(right, at - 1 if at else None, -1)
    ends = (np.interp(half, power[side], places[side]) for side in (falling, rising))
    irw = float(next(ends) - next(ends)) / FINE
    sides = np.concatenate([power[:left], power[right + 1 :]])
    reach = round(EXTENT * irw * FINE)
    near_left, near_right = max(0, at - reach), min(len(power), at + reach + 1)
    main = float(power[left : right + 1].sum())
    side = float(power[near_left:left].sum() + power[right + 1 : near_right].sum())
    return PointResponse(
        irw=irw,
        pslr_db=_db(float(sides.max(initial=0.0)) / top),
        islr_db=_db(side / main),
        position=(at + offset) / FINE,
        peak=_value(values, (at + offset) / FINE),
    )


def point_errors(prediction: Any, reference: Any, *, near: float | None = None) -> dict[str, float]:
    """How a focused point differs from the reference's focus of the same point.

    Args:
        prediction: (L) complex.
        reference: (L) complex, for instance the matched filter's.
        near: where the point is, in samples.

    Returns:
        `irw_ratio` (1 is equal), `pslr_difference_db`, `islr_difference_db`, `position_error` (samples), `phase_error` (radians,
        wrapped), `peak_loss_db` (below 0 where the prediction is weaker).

    Raises:
        InputError: as `measure_point`, on either side.

    Example:
        >>> r = np.sinc((np.arange(512) - 256) / 1.3) + 0j
        >>> found = point_errors(0.5j * r, r)
        >>> round(found["phase_error"], 4), round(found["peak_loss_db"], 2), round(found["irw_ratio"], 6)
        (1.5708, -6.02, 1.0)
    """
    p, r = measure_point(prediction, near=near), measure_point(reference, near=near)
    return {
        "irw_ratio": p.irw / r.irw,
        "pslr_difference_db": p.pslr_db - r.pslr_db,
        "islr_difference_db": p.islr_db - r.islr_db,
        "position_error": p.position - r.position,
        "phase_error": float(np.angle(p.peak * np.conj(r.peak))),
        "peak_loss_db": float(20 * np.log10(abs(p.peak) / abs(r.peak))),
    }


def upsampled(line: Complex, factor: int) -> Complex:
    """(L) -> (L * factor): zeros put into the gap of the spectrum, wherever it is (a squinted beam moves it from the middle)."""
    length = len(line)
    spectrum = np.fft.fft(line)
    centre = _spectral_centre(spectrum)
    rolled = np.roll(spectrum, -centre)
    wide = np.zeros(length * factor, np.complex128)
    upper = (length + 1) // 2
    wide[:upper], wide[upper - length :] = rolled[:upper], rolled[upper:]
    carrier = np.exp(2j * np.pi * centre * np.arange(length * factor) / (length * factor))
    return np.fft.ifft(wide) * factor * carrier


def _spectral_centre(spectrum: Complex) -> int:
    """The bin around which the power lies, on the circle of frequencies, in -L/2 .. L/2."""
    turns = np.exp(2j * np.pi * np.arange(len(spectrum)) / len(spectrum))
    mean = np.sum(np.abs(spectrum) ** 2 * turns)
    return int(np.round(np.angle(mean) / (2 * np.pi) * len(spectrum)))


def _value(line: Complex, position: float) -> complex:
    """The interpolated line at one place, from the same spectrum as `upsampled`."""
    length = len(line)
    spectrum = np.fft.fft(line)
    centre = _spectral_centre(spectrum)
    bins = (np.arange(length) - centre + length // 2) % length - length // 2 + centre
    return complex(np.sum(spectrum * np.exp(2j * np.pi * bins * position / length)) / length)


def _brightest(power: NDArray[np.float64], near: float | None, factor: int) -> int:
    if near is None:
        return int(power.argmax())
    if not 0 <= near <= len(power) / factor - 1:
        raise InputError(f"near: expected a place on the line (0 to {len(power) // factor - 1}), got {near:g}")
    low, high = int(max(0.0, near - SEARCH) * factor), int((near + SEARCH) * factor) + 1
    return low + int(power[low:high].argmax())


def _nulls(power: NDArray[np.float64], peak: int) -> tuple[int, int]:
    """The first minima on both sides: the edges of the main lobe, within which the power rises and falls."""
    from scipy.signal import argrelmin  # it loads scipy.stats, which predicting does without

    minima = argrelmin(power)[0]
    before, after = minima[minima < peak], minima[minima > peak]
    if not len(before) or not len(after):
        raise InputError(
            f"line: expected a peak with a null on both sides, got none {'after' if len(before) else 'before'} it"
        )
    return int(before[-1]), int(after[0])


def _vertex(power: NDArray[np.float64], at: int) -> tuple[float, float]:
    """Offset from `at` and height of the parabola through the peak and its neighbours."""
    before, here, after = power[at - 1], power[at], power[at + 1]
    bend = before - 2 * here + after
    offset = 0.0 if bend == 0 else float(0.5 * (before - after) / bend)
    return offset, float(here - 0.25 * (before - after) * offset)


def _db(ratio: float) -> float:
    return float("-inf") if ratio <= 0 else float(10 * np.log10(ratio))
