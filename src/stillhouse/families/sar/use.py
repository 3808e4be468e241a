"""A saved focusing network, for raw lines as they come.

Shapes: N lines, L azimuth samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite
from stillhouse.families.sar.saved import load_model
from stillhouse.families.sar.score import focus


class LinePredictor(Predictor):
    """Raw lines into focused lines, whole lines at once (`sar stream` goes sample by sample)."""

    takes: ClassVar[str] = "a .npy of complex lines: (N, L), a line a row in azimuth order, or (L) for one"
    gives_array: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network, self.scale = load_model(folder)
        if self.network.config.input_dim != 1:
            raise InputError(
                f"{folder}: expected a network of one input channel, got {self.network.config.input_dim} (position codes)"
            )

    def transform(self, one: Any) -> torch.Tensor:
        """(L, 1) complex64 of a line, in the units of the network.

        Raises:
            InputError: not a line of complex numbers, or NaN.
        """
        line = np.asarray(one)
        if line.dtype.kind != "c" or line.ndim != 1 or not line.size:
            raise InputError(f"line: expected complex numbers (L), got {line.dtype} of shape {line.shape}")
        check_finite(line[None], "line")
        return torch.from_numpy(line.astype(np.complex64) / np.float32(self.scale.input_rms))[:, None]

    def predict(self, inputs: Any) -> np.ndarray:
        """Focused lines (N, L) complex64, in the units of the data that the network learned from.

        Args:
            inputs: (N, L), or (L) for one line.
        """
        lines = np.atleast_2d(np.asarray(inputs))
        if lines.dtype.kind != "c" or lines.ndim != 2 or not lines.size:
            raise InputError(f"lines: expected complex numbers (N, L), got {lines.dtype} of shape {lines.shape}")
        check_finite(lines, "lines")
        rows = torch.stack([self.transform(line) for line in lines])
        return np.asarray(focus(self.network, rows) * np.float32(self.scale.target_rms), np.complex64)

    def read(self, source: str) -> Inputs:
        """The rows of a .npy file."""
        if Path(source).suffix.lower() != ".npy":
            raise InputError(f"{source}: expected {self.takes}")
        lines = array_of(source)
        if lines.dtype.kind != "c" or lines.ndim not in (1, 2) or not lines.size:
            raise InputError(
                f"{source}: expected complex lines (N, L) or (L), got {lines.dtype} of shape {lines.shape}"
            )
        lines = np.atleast_2d(lines)
        check_finite(lines, source)
        return Inputs([str(number) for number in range(len(lines))], lines)
