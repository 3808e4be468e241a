"""Focus pulse by pulse in constant memory, and measure what that takes.

Files are (N, L), as everywhere: N range bins, L azimuth samples. The stream takes a column of N at a time: a line of the radar.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.outputs import check_output
from stillhouse.core.records import open_mapped
from stillhouse.tasks.sar.axes import AXES, LineAxes
from stillhouse.tasks.sar.data.sequences import SarScale
from stillhouse.tasks.sar.saved import load_model
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.streaming import Stream

CHUNK = 1024  # lines that are drawn, timed and written together


@dataclass(frozen=True)
class StreamReport:
    """What streaming took.

    Attributes:
        lines: that went in.
        latency_lines: between a line and its focus.
        bins: range bins that were focused side by side.
        state_bytes: of all of them (`Stream.state_bytes`), at the start.
        state_bytes_end: the same after the last line.
        median_ms: a line, over all chunks.
        processor_ms: a line, over all lines; what other work on the machine does not stretch.
        first_ms: a line, in the first chunk; None where there is only one.
        last_ms: in the last one; as `first_ms`.
        peak_growth_bytes: by how much the process's peak memory grew after the first chunk.
        error: largest difference from the training form over the output's RMS; None where it was not checked.
    """

    lines: int
    bins: int
    latency_lines: int
    state_bytes: int
    state_bytes_end: int
    median_ms: float
    processor_ms: float
    first_ms: float | None
    last_ms: float | None
    peak_growth_bytes: int
    error: float | None = None


def stream(
    folder: Path,
    *,
    lines: int = 1000,
    source: Path | None = None,
    out: Path | None = None,
    check: bool = False,
    columns: tuple[float, float] = (0.0, 1.0),
) -> StreamReport:
    """Stream lines through a saved network.

    Args:
        folder: with its weights and card.
        lines: how many to make up (white noise of the data's power) where there is no source.
        source: a .npy file of complex lines (N, L): N range bins of L azimuth samples, or (L) for one bin; in units of the raw
            data.
        out: a .npy file for the focused lines (N, L); written through memory-mapping, never held whole.
        columns: places of the first and the last range bin across the swath, 0 near to 1 far, for a network that reads a
            position code; one bin lies in the middle of them. Along azimuth the code grows from 0 to 1 over the lines.
        check: hold the result against the training form of the whole scene (which needs memory for it).

    Raises:
        InputError: a network that cannot stream, a file that is not complex lines or is transposed, a NaN in a line.
    """
    model, scale = load_model(folder)
    if out is not None:
        check_output(out, suffixes=(".npy",), source=source)
    if model.config.signal_channels != 1:
        raise InputError(f"{folder}: expected a network of one signal channel, got {model.config.signal_channels}")
    if source is not None:
        feed = _Feed(_read(source, LineAxes.of(folder)), 1 / scale.input_rms, columns if model.config.coded else None)
    else:
        feed = _Feed(_noise(lines), 1.0, columns if model.config.coded else None)
    batch, total = feed.values.shape
    flow = Stream(model, batch)
    sink = None if out is None else open_mapped(out, np.complex64, (batch, total))
    before, written, waits, kept = flow.state_bytes, 0, list[float](), list[Tensor]()
    peak, busy = 0, 0.0
    for number, chunk in enumerate(feed.chunks()):
        started, begun = time.perf_counter(), time.process_time()
        focused = [line for lines_in in chunk if (line := flow.step(lines_in)) is not None]
        waits.append(1000 * (time.perf_counter() - started) / len(chunk))
        busy += 1000 * (time.process_time() - begun)
        written = _write(sink, focused, written, scale)
        kept += focused if check else []
        peak = _peak() if number == 0 else peak
    growth = _peak() - peak
    rest = list(flow.finish().unbind(1))
    _write(sink, rest, written, scale)
    error = _error(model, feed, torch.stack([*kept, *rest], 1)) if check else None
    return StreamReport(
        lines=total,
        bins=batch,
        latency_lines=flow.latency,
        state_bytes=before,
        state_bytes_end=flow.state_bytes,
        median_ms=statistics.median(waits),
        processor_ms=busy / total,
        first_ms=waits[0] if len(waits) > 1 else None,
        last_ms=waits[-1] if len(waits) > 1 else None,
        peak_growth_bytes=growth,
        error=error,
    )


@dataclass(frozen=True)
class _Feed:
    """Lines (N, L) in units of their own, as samples (N, C) in those of the network; C is 2 with the code of each place."""

    values: NDArray[np.complexfloating]
    factor: float
    columns: tuple[float, float] | None

    def chunks(self) -> Iterator[Tensor]:
        """(up to CHUNK, N, C)."""
        bins, lines = self.values.shape
        for first in range(0, lines, CHUNK):
            part = np.array(self.values[:, first : first + CHUNK].T, np.complex64, order="C") * np.float32(self.factor)
            block = torch.from_numpy(part[..., None])
            if self.columns is not None:
                near, far = self.columns
                across = torch.linspace(near, far, bins) if bins > 1 else torch.tensor([(near + far) / 2])
                along = torch.arange(first, first + len(block)) / lines
                code = torch.complex(*torch.broadcast_tensors(across, along[:, None]))
                block = torch.cat([block, code.unsqueeze(-1)], -1)
            yield block


def _noise(lines: int) -> NDArray[np.complex64]:
    if lines < 1:
        raise InputError(f"lines: expected 1 or more, got {lines}")
    return torch.randn(1, lines, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).numpy()


def _read(path: Path, axes: LineAxes) -> NDArray[np.complexfloating]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read lines from {path}: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "c" or values.ndim not in (1, 2) or values.size == 0:
        got = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise InputError(f"{path}: expected complex lines {AXES}, or (L) for one bin, got {got}")
    axes.check(str(path), *np.atleast_2d(values).shape)
    return np.atleast_2d(values)


def _write(sink: NDArray[np.complex64] | None, focused: list[Tensor], at: int, scale: SarScale) -> int:
    if sink is not None and focused:
        sink[:, at : at + len(focused)] = torch.stack(focused, 1)[..., 0].numpy() * np.float32(scale.target_rms)
    return at + len(focused)


@torch.no_grad()
def _error(model: SarSSM, feed: _Feed, focused: Tensor) -> float:
    whole = model(torch.cat(list(feed.chunks())).transpose(0, 1))
    return float((focused - whole).abs().max() / whole.abs().square().mean().sqrt().clamp(min=1e-30))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
