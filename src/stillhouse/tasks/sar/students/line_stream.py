"""Lines through one step of a focusing network, one after the other: what streams in torch and in onnxruntime share.

Shapes: B range bins, C input channels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from stillhouse.core.checks import InputError, same_shape

ENDLESS = 2**62


class LineStream(ABC):
    """Lines in, focused lines out, `latency` lines later.

    Args:
        batch: B, range bins side by side.
        channels: C.
        latency: lines between a line and its focus.
    """

    def __init__(self, batch: int, channels: int, latency: int) -> None:
        self.batch, self.channels, self.latency = batch, channels, latency
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        self.count, self._over = 0, False

    def step(self, line: Any) -> Any:
        """The focused line (B, output_dim) of `latency` lines ago; None while that was before the first.

        Args:
            line: (B, C) complex.

        Raises:
            InputError: real numbers, another shape, a NaN or infinity (it would stay in the state for ever), or a finished
                stream. The state is as it was before.
        """
        self._check_open()
        if "complex" not in str(line.dtype):
            raise InputError(
                f"line {self.count}: expected complex numbers, got {line.dtype}; use torch.complex(re, im)"
            )
        same_shape(f"line {self.count}", tuple(line.shape), (self.batch, self.channels))
        if not float(abs(line).max()) < math.inf:
            raise InputError(
                f"line {self.count}: expected finite numbers, got a NaN or an infinity; replace it by zeros"
            )
        return self._run(line, ENDLESS)

    def finish(self) -> Any:
        """The last lines (B, min(latency, lines that came), output_dim); then the stream is over until `reset`.

        Each layer reads zeros past its last line, as the training form does.
        """
        self._check_open()
        total = self.count
        rest = [self._run(self._silence(), total) for _ in range(self.latency)]
        self._over = True
        return self._together([line for line in rest if line is not None])

    def _check_open(self) -> None:
        if self._over:
            raise InputError("stream: it is finished; call reset() before the next scene")

    @abstractmethod
    def _run(self, line: Any, total: int) -> Any:
        """One line through the step of a scene of so many lines; None where nothing is ready."""

    @abstractmethod
    def _silence(self) -> Any:
        """A line (B, C) of zeros."""

    @abstractmethod
    def _together(self, lines: list[Any]) -> Any:
        """(B, number of lines, output_dim)."""
