"""A saved focusing network, for raw lines as they come: whole, or line by line in constant memory.

Lines are (N, L) wherever they are read: N range bins of L azimuth samples each. The stream takes a column of N at a time: a line of
the radar.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite
from stillhouse.core.records import check_output, open_mapped
from stillhouse.tasks.sar.saved import card_of, load_model
from stillhouse.tasks.sar.students.network import focus, noise
from stillhouse.tasks.sar.students.streaming import Stream

AXES = "(N, L): N range bins, L azimuth samples each"
CHUNK = 1024  # lines that are read, timed and written together


class LinePredictor(Predictor):
    """Raw lines into focused lines, whole lines at once."""

    takes: ClassVar[str] = (
        "a .npy of complex lines, (N, L): N range bins, L azimuth samples each, or (L) for one bin; with position codes "
        "(N, L, 2); or - for such a file"
    )
    gives_array: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network, self.scale = load_model(folder)
        self.channels = self.network.config.input_dim
        card = card_of(folder)
        self.aperture, self.length = 2 * card["valid"][0] + 1, card["length"]

    def transform(self, one: Any) -> Tensor:
        """(L, C) complex64 of a line (L), or of a line and its position code (L, 2), in the units of the network."""
        return self._scaled(self.checked(np.asarray(one)[None], "line"))[0]

    def predict(self, inputs: Any) -> np.ndarray:
        """Focused lines (N, L) complex64, in the units of the data that the network learned from.

        Args:
            inputs: (N, L), N range bins of L azimuth samples, or (L) for one bin; of a network that reads position codes
                (N, L, 2), or (L, 2).

        Raises:
            InputError: other numbers, or axes whose lengths are those of a transposed array.
        """
        lines = self.checked(np.asarray(inputs), "lines")
        return np.asarray(focus(self.network, self._scaled(lines)) * np.float32(self.scale.target_rms), np.complex64)

    def read(self, source: str) -> Inputs:
        """The rows of a .npy file, or of one on standard input."""
        lines = self.checked(array_of(source), source)
        return Inputs([str(number) for number in range(len(lines))], lines)

    def checked(self, lines: np.ndarray, name: str) -> np.ndarray:
        """(N, L, C) lines; of one signal channel (N, L), or (L) of one bin, are taken too.

        A transposed array has the right numbers in the wrong order and would be focused without a sound. Its lengths give it away:
        a line shorter than an aperture holds no whole point, and as many bins as the training lines had samples are those lines,
        turned.
        """
        last = () if self.channels == 1 and (lines.ndim < 3 or lines.shape[-1] != 1) else (self.channels,)
        found = lines[None] if lines.ndim == 1 + len(last) else lines
        if lines.dtype.kind != "c" or not lines.size or found.ndim != 2 + len(last) or found.shape[2:] != last:
            wanted = AXES if not last else f"(N, L, {self.channels}), position code last; {AXES}"
            raise InputError(f"{name}: expected complex {wanted}, got {lines.dtype} of shape {lines.shape}")
        bins, samples = found.shape[:2]
        if samples < self.aperture or bins == self.length != samples:
            raise InputError(
                f"{name}: expected {AXES}, at least {self.aperture} (one aperture), got ({bins}, {samples}); is it transposed?"
            )
        check_finite(found, name)
        return found.reshape(bins, samples, self.channels)

    def _scaled(self, lines: np.ndarray) -> Tensor:
        """(N, L, C) complex64 in the units of the network."""
        scaled = lines.astype(np.complex64)
        scaled[..., : self.network.config.signal_channels] /= np.float32(self.scale.input_rms)
        return torch.from_numpy(scaled)

    def chunks(self, lines: np.ndarray) -> Iterator[Tensor]:
        """(up to CHUNK, N, C) in the units of the network."""
        for first in range(0, lines.shape[1], CHUNK):
            yield self._scaled(lines[:, first : first + CHUNK]).transpose(0, 1).contiguous()


@dataclass(frozen=True)
class StreamReport:
    """What streaming took.

    Attributes:
        lines: that went in.
        bins: range bins that were focused side by side.
        latency_lines: between a line and its focus.
        state_bytes: of all of them (`Stream.state_bytes`), at the start.
        state_bytes_end: the same after the last line.
        median_ms: a line by the clock, over all chunks.
        processor_ms: a line, over all lines; what other work on the machine does not stretch.
        error: largest difference from the training form over the output's RMS; None where it was not checked.
    """

    lines: int
    bins: int
    latency_lines: int
    state_bytes: int
    state_bytes_end: int
    median_ms: float
    processor_ms: float
    error: float | None = None


def stream(
    folder: Path, *, lines: int = 1000, source: Path | None = None, out: Path | None = None, check: bool = False
) -> StreamReport:
    """Stream lines through a saved network.

    Args:
        folder: with its weights and card.
        lines: how many to make up (white noise of the data's power, of one bin) where there is no source.
        source: a .npy file of lines as `LinePredictor.predict` takes them.
        out: a .npy file for the focused lines (N, L); written through memory-mapping, never held whole.
        check: hold the result against the training form of the whole scene (which needs memory for it).

    Raises:
        InputError: a network that cannot stream, or a file that `LinePredictor` refuses.
    """
    if out is not None:
        check_output(out, suffixes=(".npy",), source=source)
    student = LinePredictor(folder)
    if source is None:
        given = noise(student.network, lines).numpy()
        given[..., : student.network.config.signal_channels] *= student.scale.input_rms
    else:
        given = student.checked(_opened(source), str(source))
    flow, total = Stream(student.network, len(given)), given.shape[1]
    sink = None if out is None else open_mapped(out, np.complex64, (len(given), total))
    before, written, waits, kept, busy = flow.state_bytes, 0, list[float](), list[Tensor](), 0.0

    def take(found: list[Tensor]) -> int:
        if sink is not None and found:
            some = torch.stack(found, 1)[..., 0].numpy()
            sink[:, written : written + len(found)] = some * np.float32(student.scale.target_rms)
        kept.extend(found if check else [])
        return written + len(found)

    for chunk in student.chunks(given):
        started, begun = time.perf_counter(), time.process_time()
        focused = [line for one in chunk if (line := flow.step(one)) is not None]
        waits.append(1000 * (time.perf_counter() - started) / len(chunk))
        busy += 1000 * (time.process_time() - begun)
        written = take(focused)
    after = flow.state_bytes
    take(flow.finish())
    error = None
    if check:
        with torch.no_grad():
            whole = student.network(torch.cat(list(student.chunks(given))).transpose(0, 1))
        error = float((torch.stack(kept, 1) - whole).abs().max() / whole.abs().square().mean().sqrt())
    median = statistics.median(waits)
    return StreamReport(total, len(given), flow.latency, before, after, median, busy / total, error)


def _opened(path: Path) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read lines from {path}: {error}") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: expected one array (.npy), got several (.npz)")
    return found
