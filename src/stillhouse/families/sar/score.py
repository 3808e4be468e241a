"""How well something focuses, line by line and on isolated points; what it costs; and what it must be held against.

Shapes: N lines, L azimuth samples, K filter taps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.families.sar.data.matched_filter import filtered
from stillhouse.families.sar.data.sequences import PointSet, SarData, SarSplit
from stillhouse.families.sar.metrics.anchors import fit_fir, truncated
from stillhouse.families.sar.metrics.lines import judge_focus
from stillhouse.families.sar.metrics.point import FINE, measure_point, point_errors, upsampled
from stillhouse.families.sar.students.cost import step_cost
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.families.sar.students.streaming import measure_latency
from stillhouse.losses.complex import coherence_loss, complex_nmse

Complex = NDArray[np.complex64]
Focuser = Callable[[Tensor], Complex]
POINTS = 16
COMPLEX64 = 8  # bytes
CUT_AXIS = np.arange(-16 * FINE, 16 * FINE + 1) / FINE


@torch.no_grad()
def focus(model: SarSSM, inputs: Tensor, batch: int = 64) -> Complex:
    """(N, L) focused lines of lines (N, L, C), in eval mode and on its own device."""
    model.eval()
    device = next(model.parameters()).device
    parts = [model(part.to(device)).cpu() for part in inputs.split(batch)]
    return torch.cat(parts)[..., 0].numpy()


def line_figures(focused: Complex, wanted: Complex) -> dict[str, NDArray[np.float64]]:
    """(N) quality (1 - NMSE) and coherence of every line; what verdicts are made of."""
    s, t = (torch.from_numpy(np.ascontiguousarray(x)).to(torch.complex128) for x in (focused, wanted))
    return {
        "quality": (1 - complex_nmse(s, t)).numpy(),
        "coherence": (1 - coherence_loss(s, t)).numpy(),
    }


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


def judge(focused: Complex, split: SarSplit, valid: slice) -> dict[str, float]:
    """Quality and coherence as means over lines, and every figure over the whole split (`nmse`, `snr_db`, ...)."""
    wanted = split.targets[..., 0].numpy()[:, valid]
    lines = line_figures(focused[:, valid], wanted)
    whole = judge_focus(focused[:, valid], wanted)
    return {
        "quality": float(lines["quality"].mean()),
        "coherence": float(lines["coherence"].mean()),
        **{f"whole_{key}" if key == "coherence" else key: value for key, value in whole.items()},
    }


def point_figures(focuser: Focuser, points: PointSet, valid: slice) -> dict[str, Any]:
    """Width, sidelobes, place and phase of isolated points, against the matched filter's; medians over those that have a peak."""
    focused, wanted = focuser(points.inputs)[:, valid], points.targets[..., 0].numpy()[:, valid]
    found: list[dict[str, float]] = []
    for line, reference, place in zip(focused, wanted, points.positions - valid.start, strict=True):
        try:
            own = asdict(measure_point(line, near=float(place)))
            found.append({**point_errors(line, reference, near=float(place)), **own})
        except InputError:
            continue  # nothing that has a width: it is counted
    figures: dict[str, Any] = {"points": len(focused), "points_with_a_peak": len(found)}
    for name in ("irw", "pslr_db", "islr_db", "irw_ratio", "pslr_difference_db", "islr_difference_db", "peak_loss_db"):
        figures[name] = statistics.median(one[name] for one in found) if found else None
    for name in ("position_error", "phase_error"):
        figures[name] = float(np.sqrt(np.mean([one[name] ** 2 for one in found]))) if found else None
    return figures


def point_cut(line: Complex, place: float) -> NDArray[np.float64]:
    """Power in dB at `CUT_AXIS` samples from a point, 0 dB at the brightest; between samples by its spectrum.

    Example:
        >>> cut = point_cut((np.sinc((np.arange(128) - 64.5) / 1.3) + 0j).astype(np.complex64), 64.5)
        >>> float(CUT_AXIS[cut.argmax()]), round(float(cut.max()), 3)
        (0.0, 0.0)
    """
    fine = np.abs(upsampled(line.astype(np.complex128), FINE)) ** 2
    index = np.clip(np.round((place + CUT_AXIS) * FINE).astype(int), 0, len(fine) - 1)
    power = fine[index]
    return np.asarray(10 * np.log10(np.maximum(power / max(float(power.max()), 1e-30), 1e-8)))


def network_cost(model: SarSSM, length: int) -> dict[str, Any]:
    """Counted parameters, state and operations; measured milliseconds a line, in the step form and by FFT over a whole scene.

    `processor_*` are times of the processor, all threads: another load on the machine does not move them, so ratios are taken of
    them; the others are by the clock.
    """
    counted = step_cost(model)
    wall, processor = _whole_ms(model, length)
    figures: dict[str, Any] = {
        **asdict(counted),
        "ms_line": None,
        "ms_line_slow": None,
        "processor_ms_line": None,
        "latency_lines": None,
        "ms_line_whole": wall / length,
        "processor_ms_line_whole": processor / length,
    }
    if model.config.look_ahead is not None:
        measured = measure_latency(model, lines=100)
        figures |= {
            "ms_line": measured.median_ms,
            "ms_line_slow": measured.slowest_tenth_ms,
            "processor_ms_line": measured.processor_ms,
            "latency_lines": measured.latency_lines,
        }
    return figures


def filter_cost(taps: int) -> dict[str, Any]:
    """A filter of K taps, line by line: K operations, K samples of memory, half of them latency; its time as NumPy takes it."""
    rng = np.random.default_rng(0)
    kernel, memory = ((rng.normal(size=taps) + 1j * rng.normal(size=taps)).astype(np.complex64) for _ in range(2))
    waits = []
    for sample in range(220):
        before = time.perf_counter()
        memory[:-1] = memory[1:]
        memory[-1] = sample
        np.dot(kernel, memory)
        waits.append(1000 * (time.perf_counter() - before))
    timed = sorted(waits[20:])
    return {
        "parameters": 2 * taps,
        "state_bytes": taps * COMPLEX64,
        "complex_macs": taps,
        "real_macs": 0,
        "ms_line": statistics.median(timed),
        "ms_line_slow": timed[(9 * len(timed)) // 10],
        "latency_lines": taps // 2,
        "ms_line_whole": None,
    }


def rivals(data: SarData, fir_taps: int | None = None) -> dict[str, tuple[Focuser, Focuser, dict[str, Any]]]:
    """What needs no network: name -> (focuser of the test split, focuser of points, cost).

    Filters that need the radar (matched, truncated) are left out where it is not known.

    Args:
        data: whose training split the short filter is fitted on.
        fir_taps: of the short filters; half an aperture where not given.
    """
    found: dict[str, tuple[Focuser, Focuser, dict[str, Any]]] = {}
    signal = lambda x: x[..., 0].numpy()  # noqa: E731
    known = data.parameters is not None
    if known:
        kernels, points = data.kernels(data.test), data.points(POINTS)
        taps = kernels.shape[-1]
        short = fir_taps or max(3, (taps // 2) | 1)
        # one length for both sets: the rates of points may need fewer taps
        found["matched filter"] = (
            lambda x: np.asarray(filtered(signal(x), kernels), np.complex64),
            lambda x: np.asarray(filtered(signal(x), points.kernels), np.complex64),
            filter_cost(taps),
        )
        cut, cut_points = truncated(kernels, short), truncated(points.kernels, short)
        found[f"matched filter cut to {short} taps"] = (
            lambda x: np.asarray(filtered(signal(x), cut), np.complex64),
            lambda x: np.asarray(filtered(signal(x), cut_points), np.complex64),
            filter_cost(short),
        )
    equations = len(data.train) * (data.valid.stop - data.valid.start)  # a filter has no more taps than they settle
    short = min(fir_taps or (short if known else 65), (equations - 1) | 1)
    fitted = fit_fir(signal(data.train.inputs), data.train.targets[..., 0].numpy(), short, valid=data.valid)
    apply: Focuser = lambda x: np.asarray(filtered(signal(x), fitted), np.complex64)  # noqa: E731
    found[f"fitted FIR of {short} taps"] = (apply, apply, filter_cost(short))
    free = {
        **filter_cost(1),
        "parameters": 0,
        "state_bytes": 0,
        "complex_macs": 0,
        "ms_line": None,
        "ms_line_slow": None,
    }
    found["identity (unfocused)"] = (signal, signal, free)
    silent: Focuser = lambda x: np.zeros_like(signal(x))  # noqa: E731
    found["zero"] = (silent, silent, free)
    return found


@torch.no_grad()
def _whole_ms(model: SarSSM, length: int) -> tuple[float, float]:
    """Of a whole scene by FFT: the median by the clock, the mean of the processor's time."""
    model.eval()
    first = next(model.parameters())
    lines = torch.randn(
        1, length, model.config.input_dim, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    lines = lines.to(first.device)
    waits, begun = [], 0.0
    for number in range(7):
        begun = time.process_time() if number == 2 else begun
        before = time.perf_counter()
        model(lines)
        if lines.is_cuda:
            torch.cuda.synchronize()
        waits.append(1000 * (time.perf_counter() - before))
    return statistics.median(waits[2:]), 1000 * (time.process_time() - begun) / 5
