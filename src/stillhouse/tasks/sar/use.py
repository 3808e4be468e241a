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
from stillhouse.tasks.sar.axes import AXES, LineAxes
from stillhouse.tasks.sar.saved import load_model
from stillhouse.tasks.sar.score import focus


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
        return self._scaled(self._many(np.asarray(one)[None], "line"))[0]

    def predict(self, inputs: Any) -> np.ndarray:
        """Focused lines (N, L) complex64, in the units of the data that the network learned from.

        Args:
            inputs: (N, L), N range bins of L azimuth samples, or (L) for one bin; of a network that reads position codes
                (N, L, 2), or (L, 2).

        Raises:
            InputError: other numbers, or axes whose lengths are those of a transposed array (see `axes.LineAxes`).
        """
        lines = self._many(np.asarray(inputs), "lines")
        return np.asarray(focus(self.network, self._scaled(lines)) * np.float32(self.scale.target_rms), np.complex64)

    def _scaled(self, lines: np.ndarray) -> torch.Tensor:
        """(N, L, C) complex64 in the units of the network."""
        scaled = lines.astype(np.complex64).reshape(*lines.shape[:2], self.channels)
        scaled[..., : self.network.config.signal_channels] /= np.float32(self.scale.input_rms)
        return torch.from_numpy(scaled)

    def read(self, source: str) -> Inputs:
        """The rows of a .npy file, or of one on standard input."""
        if source != "-" and Path(source).suffix.lower() != ".npy":
            raise InputError(f"{source}: expected {self.takes}")
        lines = array_of(source)
        lines = self._many(lines, source)
        return Inputs([str(number) for number in range(len(lines))], lines)

    def _many(self, lines: np.ndarray, name: str) -> np.ndarray:
        """(N, L), or (N, L, C) with position codes; one line becomes a row."""
        channels = () if self.channels == 1 else (self.channels,)
        wanted = "(N, L)" if not channels else f"(N, L, {self.channels}), position code last"
        if lines.dtype.kind == "c" and lines.ndim == 1 + len(channels):
            lines = lines[None]
        if (
            lines.dtype.kind != "c"
            or not lines.size
            or lines.ndim < 2
            or lines.shape[2:] not in (channels, (self.channels,))
        ):
            got = f"{lines.dtype} of shape {lines.shape}"
            raise InputError(f"{name}: expected complex numbers {wanted}, got {got}; {AXES}")
        self.axes.check(name, *lines.shape[:2])
        check_finite(lines, name)
        return lines
