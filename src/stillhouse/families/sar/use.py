"""A saved focusing network, for raw lines as they come.

Shapes: N range bins, whose lines these are, L azimuth samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite
from stillhouse.families.sar.axes import AXES, LineAxes
from stillhouse.families.sar.saved import load_model
from stillhouse.families.sar.score import focus


class LinePredictor(Predictor):
    """Raw lines into focused lines, whole lines at once (`sar stream` goes sample by sample)."""

    takes: ClassVar[str] = (
        "a .npy of complex lines, (N, L): N range bins, L azimuth samples each, or (L) for one bin; with position codes "
        "(N, L, 2); or - for such a file"
    )
    gives_array: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network, self.scale = load_model(folder)
        self.channels = self.network.config.input_dim
        self.axes = LineAxes.of(folder)

    def transform(self, one: Any) -> torch.Tensor:
        """(L, C) complex64 of a line (L), or of a line and its position code (L, 2), in the units of the network.

        Raises:
            InputError: not a line of complex numbers, without the position code that the network reads, or NaN.
        """
        line = np.asarray(one)
        if line.dtype.kind != "c" or not line.size or line.shape[1:] not in self._shapes:
            raise InputError(
                f"line: expected complex numbers {self._wanted('L')}, got {line.dtype} of shape {line.shape}"
            )
        self.axes.check("line", 1, len(line))
        check_finite(line[None], "line")
        scaled = line.astype(np.complex64).reshape(len(line), self.channels)
        scaled[:, : self.network.config.signal_channels] /= np.float32(self.scale.input_rms)
        return torch.from_numpy(scaled)

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """What may follow the azimuth axis."""
        return ((), (1,)) if self.channels == 1 else ((self.channels,),)

    def _wanted(self, axes: str) -> str:
        return f"({axes})" if self.channels == 1 else f"({axes}, {self.channels}), position code last"

    def predict(self, inputs: Any) -> np.ndarray:
        """Focused lines (N, L) complex64, in the units of the data that the network learned from.

        Args:
            inputs: (N, L), N range bins of L azimuth samples, or (L) for one bin; of a network that reads position codes
                (N, L, 2), or (L, 2).

        Raises:
            InputError: other numbers, or axes whose lengths are those of a transposed array (see `axes.LineAxes`).
        """
        lines = self._many(np.asarray(inputs), "lines")
        rows = torch.stack([self.transform(line) for line in lines])
        return np.asarray(focus(self.network, rows) * np.float32(self.scale.target_rms), np.complex64)

    def read(self, source: str) -> Inputs:
        """The rows of a .npy file, or of one on standard input."""
        if source != "-" and Path(source).suffix.lower() != ".npy":
            raise InputError(f"{source}: expected {self.takes}")
        lines = array_of(source)
        lines = self._many(lines, source)
        return Inputs([str(number) for number in range(len(lines))], lines)

    def _many(self, lines: np.ndarray, name: str) -> np.ndarray:
        """(N, L), or (N, L, C) with position codes; one line becomes a row."""
        one = 1 if self.channels == 1 else 2
        if lines.dtype.kind == "c" and lines.ndim == one:
            lines = lines[None]
        if lines.dtype.kind != "c" or not lines.size or lines.ndim < 2 or lines.shape[2:] not in self._shapes:
            got = f"{lines.dtype} of shape {lines.shape}"
            raise InputError(f"{name}: expected complex numbers {self._wanted('N, L')}, got {got}; {AXES}")
        self.axes.check(name, *lines.shape[:2])
        check_finite(lines, name)
        return lines
