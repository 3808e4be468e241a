"""How well something focuses, line by line and on isolated points; what it costs; and what it must be held against.

Shapes: N lines, L azimuth samples, K filter taps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.complex import coherence_loss, complex_nmse
from stillhouse.tasks.sar.data.matched_filter import filtered
from stillhouse.tasks.sar.data.sequences import PointSet, SarData, SarSplit
from stillhouse.tasks.sar.metrics.anchors import fit_fir, truncated
from stillhouse.tasks.sar.metrics.lines import coherence, nmse, phase_rmse, snr_db
from stillhouse.tasks.sar.metrics.point import measure_point, point_errors
from stillhouse.tasks.sar.students.cost import step_cost
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.streaming import measure_latency, timed

Complex = NDArray[np.complex64]
Row = dict[str, Any]
POINTS = 16
COMPLEX64 = 8  # bytes


@dataclass(frozen=True)
class Focuser:
    """What a table is a row of.

    Attributes:
        name: of the row.
        kind: network, cache or filter.
        focus: (N, L) focused lines of lines (N, L, C) whose matched filters are (N, K), None where the radar is not known.
        facts: further cells: parameters, costs.
    """

    name: str
    kind: str
    focus: Callable[[Tensor, Any], Complex]
    facts: Mapping[str, Any]

    def row(self, data: SarData) -> Row:
        """Scores on the test lines, on isolated points where the radar is known, and costs."""
        known = data.parameters is not None
        lines = self.focus(data.test.inputs, data.kernels(data.test) if known else None)
        row: Row = {
            "name": self.name,
            "kind": self.kind,
            "size": "",
            **judge(lines, data.test, data.valid),
            **self.facts,
        }
        if known and self.kind != "cache":
            points = data.points(POINTS)
            row |= point_figures(self.focus(points.inputs, points.kernels), points, data.valid)
        return row


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
    own = focused[:, valid]
    lines = line_figures(own, wanted)
    return {
        "quality": float(lines["quality"].mean()),
        "coherence": float(lines["coherence"].mean()),
        "nmse": nmse(own, wanted),
        "snr_db": snr_db(own, wanted),
        "whole_coherence": coherence(own, wanted),
        "phase_rmse": phase_rmse(own, wanted),
    }


def point_figures(focused: Complex, points: PointSet, valid: slice) -> Row:
    """Width, sidelobes, place and phase of isolated points, against the matched filter's; medians over those that have a peak."""
    focused, wanted = focused[:, valid], points.targets[..., 0].numpy()[:, valid]
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


def network_cost(model: SarSSM, length: int) -> dict[str, Any]:
    """Counted parameters, state and operations; measured milliseconds a line, in the step form and by FFT over a whole scene.

    `processor_*` are times of the processor, all threads: another load on the machine does not move them, so ratios are taken of
    them; the others are by the clock.
    """
    figures: Row = asdict(step_cost(model))
    wall, _, processor = timed(partial(model.eval(), _scene(model, length)), 5, warm_up=2)
    figures |= {"ms_line_whole": wall / length, "processor_ms_line_whole": processor / length}
    if model.config.look_ahead is not None:
        step = measure_latency(model, lines=100)
        figures |= {"ms_line": step.median_ms, "processor_ms_line": step.processor_ms}
        figures["latency_lines"] = step.latency_lines
    return figures


def baselines(data: SarData, fir_taps: int | None = None) -> list[Focuser]:
    """What needs no network; filters that need the radar (matched, truncated) are left out where it is not known.

    Args:
        data: whose training split the short filter is fitted on.
        fir_taps: of the short filters; half an aperture where not given.
    """
    found = []
    short = fir_taps or 65
    if data.parameters is not None:
        taps = data.kernels(data.test, [0]).shape[-1]
        short = fir_taps or max(3, (taps // 2) | 1)
        found.append(_filter("matched filter", taps, lambda kernels: kernels))
        found.append(_filter(f"matched filter cut to {short} taps", short, lambda kernels: truncated(kernels, short)))
    equations = len(data.train) * (data.valid.stop - data.valid.start)  # a filter has no more taps than they settle
    fit = min(short, (equations - 1) | 1)
    fitted = fit_fir(_signal(data.train.inputs), data.train.targets[..., 0].numpy(), fit, valid=data.valid)
    found.append(_filter(f"fitted FIR of {fit} taps", fit, lambda kernels: fitted))
    free = {"parameters": 0, "state_bytes": 0, "complex_macs": 0, "real_macs": 0, "latency_lines": 0}
    found.append(Focuser("identity (unfocused)", "filter", lambda x, _: _signal(x), free))
    found.append(Focuser("zero", "filter", lambda x, _: np.zeros_like(_signal(x)), free))
    return found


def _filter(name: str, taps: int, kernel: Callable[[Any], Any]) -> Focuser:
    """A filter of K taps: K operations a line, K samples of memory, half of them latency."""
    cost = {"parameters": 2 * taps, "state_bytes": taps * COMPLEX64, "complex_macs": taps, "real_macs": 0}
    focus = lambda x, kernels: np.asarray(filtered(_signal(x), kernel(kernels)), np.complex64)  # noqa: E731
    return Focuser(name, "filter", focus, {**cost, "latency_lines": taps // 2})


def _signal(lines: Tensor) -> Complex:
    return lines[..., 0].numpy()


def _scene(model: SarSSM, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(1, length, model.config.input_dim, dtype=torch.complex64, generator=generator)
    return lines.to(next(model.parameters()).device)
