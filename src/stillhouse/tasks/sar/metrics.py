"""How well something focuses, line by line and on isolated points.

Prediction first, reference second. Give only the valid region: outside it no focuser has seen the whole aperture.

Legend: N lines, L azimuth samples.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.losses.complex import coherence_loss, complex_nmse
from stillhouse.tasks.sar.data.sequences import PointSet, SarSplit

Complex = NDArray[np.complexfloating]
FINE = 16  # places between two samples
EXTENT = 20.0  # widths within which sidelobes count
SEARCH = 8.0  # samples around the expected place in which the peak is looked for


def line_figures(focused: Complex, wanted: Complex) -> dict[str, NDArray[np.float64]]:
    """(N) quality (1 - NMSE) and coherence of every line; what verdicts are made of."""
    s, t = (torch.from_numpy(np.ascontiguousarray(x)).to(torch.complex128) for x in (focused, wanted))
    return {"quality": (1 - complex_nmse(s, t)).numpy(), "coherence": (1 - coherence_loss(s, t)).numpy()}


def judge(focused: Complex, split: SarSplit, valid: slice) -> dict[str, float]:
    """Quality and coherence as means over lines, and the error over the whole split."""
    own, wanted = focused[:, valid], split.targets[..., 0].numpy()[:, valid]
    lines = {name: float(values.mean()) for name, values in line_figures(own, wanted).items()}
    power = np.sum(np.abs(wanted.astype(np.complex128)) ** 2)
    nmse = float(np.sum(np.abs(own.astype(np.complex128) - wanted) ** 2) / power)
    return {**lines, "nmse": nmse, "snr_db": float(-10 * np.log10(max(nmse, 1e-300)))}


def noise_quality(wanted: Complex) -> float:
    """The quality that noise passes on one line in twenty, where it is given the best factor in hindsight: chance for a focuser.

    Noise and a line of n independent samples have a squared coherence with the distribution Beta(1, n - 1), and that is the quality
    (1 - NMSE) of the noise times its best factor. n is counted by the width of the lines' spectrum.

    Args:
        wanted: (N, L) focused lines, judged region alone.

    Returns:
        Above 0: 1 - 0.05^(1 / (n - 1)), about 3 / n.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> white = (rng.normal(size=(400, 301)) + 1j * rng.normal(size=(400, 301))).astype(np.complex64)
        >>> round(noise_quality(white), 3)
        0.01
    """
    power = (np.abs(np.fft.fft(wanted)) ** 2).mean(0)
    speckle = 1 + 1 / len(wanted)  # by which the mean square of a mean over so many lines is too large
    samples = speckle * power.sum() ** 2 / max(float((power**2).sum()), 1e-300)
    return float(1 - 0.05 ** (1 / max(1.0, samples - 1)))


def measure_point(line: Complex, near: float) -> dict[str, float]:
    """Measure the response to a point, as radar people judge a focus.

    Args:
        line: (L) complex, focused; the point should lie at least 20 widths from the ends.
        near: where the point should be, in samples; the peak is looked for within 8 samples of it.

    Returns:
        `irw`, its width at half the peak's power, in samples; `pslr_db`, the highest sidelobe (outside the first nulls) over the
        peak; `islr_db`, energy of the sidelobes within 20 widths over that of the main lobe; `position` in samples; `phase` there.

    Raises:
        InputError: a peak without a null or a half-power point on both sides (no peak at all, or one at the end of the line).

    Example:
        A sinc of bandwidth 1 / 1.3: 0.886 * 1.3 samples wide, first sidelobe at -13.26 dB.

        >>> point = measure_point(np.sinc((np.arange(512) - 256.3) / 1.3) + 0j, near=256)
        >>> round(point["irw"], 2), round(point["pslr_db"], 1), round(point["position"], 2)
        (1.15, -13.3, 256.3)

    Source: Cumming & Wong 2005, ch. 2.9; ESA PE-TN-ESA-GS-0002 (quality of point targets).
    """
    from scipy.signal import argrelmin, peak_widths, resample  # they load scipy.stats, which predicting does without

    fine = resample(line.astype(np.complex128), FINE * len(line))
    power = np.abs(fine) ** 2
    low = max(0, int((near - SEARCH) * FINE))
    at = low + int(power[low : int((near + SEARCH) * FINE) + 1].argmax())
    minima = argrelmin(power)[0]
    before, after = minima[minima < at], minima[minima > at]
    if not len(before) or not len(after) or max(power[before[-1]], power[after[0]]) >= power[at] / 2:
        raise InputError("line: expected a peak with a null on both sides, got none")
    left, right = int(before[-1]), int(after[0])
    # the height over nothing, not over the nulls: half the peak's power
    width = float(peak_widths(power, [at], 0.5, (power[[at]], np.array([left]), np.array([right])))[0][0])
    reach = round(EXTENT * width)
    side = power[max(0, at - reach) : left].sum() + power[right + 1 : at + reach + 1].sum()
    highest = max(power[:left].max(initial=0.0), power[right + 1 :].max(initial=0.0))
    earlier, here, later = power[at - 1 : at + 2]
    place = at + 0.5 * (earlier - later) / (earlier - 2 * here + later)  # the vertex of a parabola
    return {
        "irw": width / FINE,
        "pslr_db": float(10 * np.log10(highest / here)),
        "islr_db": float(10 * np.log10(side / power[left : right + 1].sum())),
        "position": float(place / FINE),
        "phase": float(np.angle(np.interp(place, np.arange(len(fine)), fine))),
    }


def point_figures(focused: Complex, points: PointSet, valid: slice) -> dict[str, Any]:
    """Width, sidelobes, place and phase of isolated points, against the matched filter's; medians over those that have a peak."""
    found: list[dict[str, float]] = []
    lines = zip(focused[:, valid], points.targets[..., 0].numpy()[:, valid], points.positions - valid.start)
    for line, reference, place in lines:
        try:
            own, other = measure_point(line, place), measure_point(reference, place)
        except InputError:
            continue  # nothing that has a width: it is counted
        turn = np.exp(1j * (own["phase"] - other["phase"]))
        own |= {"irw_ratio": own["irw"] / other["irw"], "pslr_difference_db": own["pslr_db"] - other["pslr_db"]}
        found.append(
            {**own, "position_error": own["position"] - other["position"], "phase_error": float(np.angle(turn))}
        )
    figures: dict[str, Any] = {"points": len(focused), "points_with_a_peak": len(found)}
    for name in ("irw", "pslr_db", "islr_db", "irw_ratio", "pslr_difference_db"):
        figures[name] = statistics.median(one[name] for one in found) if found else None
    for name in ("position_error", "phase_error"):
        figures[name] = float(np.sqrt(np.mean([one[name] ** 2 for one in found]))) if found else None
    return figures
