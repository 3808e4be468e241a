"""Lines through one step of a focusing network, one after the other; and that step as an ONNX graph, run without torch.

Shapes: B range bins, C input channels, L lines.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.records import check_output, write_atomically

if TYPE_CHECKING:
    from stillhouse.tasks.sar.students.network import SarSSM

ENDLESS = 2**62  # lines of a scene while their number is not known
CHECKED, ROUNDING = 200, 1e-4  # samples of noise, and the largest difference of the largest number


class LineStream(ABC):
    """Lines in, focused lines out, `latency` lines later: in torch (`Stream`) or in onnxruntime (`OnnxStream`).

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
        self.count, self._last, self.state = 0, None, self.start()

    def step(self, line: Any) -> Any:
        """The focused line (B, output_dim) of `latency` lines ago; None while that was before the first.

        Args:
            line: (B, C) complex.

        Raises:
            InputError: real numbers, another shape, or a NaN or infinity (it would stay in the state for ever). The state is as it
                was before.
        """
        if "complex" not in str(line.dtype):
            raise InputError(f"line {self.count}: expected complex numbers, got {line.dtype}")
        same_shape(f"line {self.count}", tuple(line.shape), (self.batch, self.channels))
        if not float(abs(line).max()) < math.inf:
            raise InputError(f"line {self.count}: expected finite numbers, got a NaN or an infinity")
        self._last = line
        return self._next(line, ENDLESS)

    def finish(self) -> list[Any]:
        """The last lines, as many as the latency or as came; then the next line is the first of another scene.

        Each layer reads zeros past its last line, as the training form does.
        """
        total, rest = self.count, list[Any]()
        if self._last is not None:
            rest = [self._next(self._last * 0, total) for _ in range(self.latency)]
        self.reset()
        return [line for line in rest if line is not None]

    def _next(self, line: Any, total: int) -> Any:
        focused = self.run(line, total)
        self.count += 1
        return focused

    @abstractmethod
    def start(self) -> dict[str, Any]:
        """The state before the first line."""

    @abstractmethod
    def run(self, line: Any, total: int) -> Any:
        """One line through the step of a scene of so many lines, moving the state; None where nothing is ready."""


class OnnxStream(LineStream):
    """`Stream` on onnxruntime: `step` for every line, `finish` for the last ones.

    Args:
        path: a file of `export_step`.
        batch: B, range bins side by side.
    """

    def __init__(self, path: Path, batch: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("onnxruntime: the package is not installed; pip install 'stillhouse[export]'") from None
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._card = json.loads(self._session.get_modelmeta().custom_metadata_map["stillhouse"])
        super().__init__(batch, self._card["channels"], self._card["latency"])

    def start(self) -> dict[str, Any]:
        """Zeros."""
        return {name: np.zeros((self.batch, *shape), np.float32) for name, shape in self._card["states"].items()}

    def run(self, line: Any, total: int) -> Any:
        """One step."""
        feed: dict[str, Any] = {"line": np.stack([line.real, line.imag], -1).astype(np.float32), **self.state}
        feed |= {"count": np.array(self.count, np.int64), "total": np.array(total, np.int64)}
        focused, ready, *states = self._session.run(None, feed)
        self.state = dict(zip(self.state, states))
        return (focused[..., 0] + 1j * focused[..., 1]).astype(np.complex64) if bool(ready) else None


def export_step(model: SarSSM, path: Path) -> Path:
    """Write one step of `Stream` as an ONNX graph: a line and the state in, a focused line and the next state out.

    Inputs: `line` (B, C, 2) float32; `count` () int64, lines before this one; `total` () int64, lines of the scene (2^62 while
    that is unknown), beyond which the layers read zeros; the states by name. Outputs: `focused` (B, output_dim, 2), zero while
    `ready` () is false; the states as `next.<name>`. B is free. `OnnxStream` runs it.

    Args:
        model: causal or with a fixed look-ahead; computed as in eval mode.
        path: of the .onnx file.

    Raises:
        InputError: a bidirectional network; or the package onnx is not installed.
    """
    check_output(path)
    import torch

    from stillhouse.export.program import first_line, quiet
    from stillhouse.tasks.sar.students.streaming import StreamStep

    step = StreamStep(model.float(), pairs=True)
    states = step.states()
    example = [torch.zeros(2, model.config.input_dim, 2), torch.tensor(0), torch.tensor(ENDLESS)]
    rows = {0: torch.export.Dim("batch", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            made = torch.onnx.export(
                step,
                (*example, *(torch.zeros(2, *shape) for shape in states.values())),
                input_names=["line", "count", "total", *states],
                output_names=["focused", "ready", *(f"next.{name}" for name in states)],
                dynamic_shapes=(rows, None, None, (rows,) * len(states)),
                dynamo=True,
            )
        except ImportError as error:
            raise InputError(f"onnx: {error.name} is not installed; pip install 'stillhouse[export]'") from None
        except Exception as error:  # of the tracer's own kinds
            raise InputError(f"onnx: torch cannot export this network: {first_line(error)}") from None
    assert made is not None
    card = {"latency": step.latency, "channels": model.config.input_dim, "states": states}
    written = made.model_proto
    written.metadata_props.add(key="stillhouse", value=json.dumps(card))
    write_atomically(path, lambda file: file.write(written.SerializeToString()))
    return path


def write_checked_step(model: SarSSM, path: Path) -> str:
    """`export_step`, then noise through onnxruntime, held against the network.

    Raises:
        InputError: see `export_step`; or other lines come out.
    """
    import torch

    export_step(model, path)
    lines = noise(model)
    with torch.no_grad():
        expected = model(lines).numpy()
    stream = OnnxStream(path)
    made = [stream.step(line.numpy()) for line in lines.unbind(1)]
    got = np.stack([line for line in [*made, *stream.finish()] if line is not None], 1)
    largest = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not largest <= ROUNDING:
        raise InputError(f"{path.name}: expected the lines of the network within {ROUNDING}, got {largest:.2g} apart")
    return f"{CHECKED} samples of noise within {largest:.1g} of the network's"


def noise(model: SarSSM) -> Any:
    """(1, L, C) lines of unit power, with places along a line where the network reads them: what an export is checked on."""
    import torch

    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(1, CHECKED, model.config.input_dim, dtype=torch.complex64, generator=generator)
    if model.config.use_pos_encoding:
        lines[..., -1] = torch.complex(torch.tensor(0.8), torch.arange(CHECKED) / CHECKED)
    return lines
