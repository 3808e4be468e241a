"""The step form of a focusing network as ONNX, on real pairs (re, im), since runtimes have no complex numbers.

Running one (`OnnxStream`) takes no torch; `onnx_step.py` writes it.

Shapes: B range bins, C input channels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape

ENDLESS = 2**62
FORMAT = "stillhouse-state-space-step-1"
Array = NDArray[Any]


class OnnxStream:
    """`Stream` on onnxruntime: `step` for every line, `finish` for the last ones.

    Args:
        path: a file of `export_step`.
        batch: B, range bins side by side.

    Raises:
        InputError: no such file, another kind of ONNX file, or the package onnxruntime is not installed.
    """

    def __init__(self, path: Path, batch: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("onnxruntime: the package is not installed; pip install 'stillhouse[export]'") from None
        if not Path(path).is_file():
            raise InputError(f"OnnxStream: expected an .onnx file, got nothing at {path}")
        try:
            self._session = onnxruntime.InferenceSession(Path(path).read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds, for a file that was cut off or is none
            text = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: expected a network of export_step, got what cannot be opened: {text}") from None
        card = json.loads(self._session.get_modelmeta().custom_metadata_map.get("stillhouse", "{}"))
        if card.get("format") != FORMAT:
            raise InputError(f"{path}: expected a network of export_step ({FORMAT}), got {card.get('format')!r}")
        self.latency: int = card["latency"]
        self._shape = (batch, int(card["channels"]))
        kinds = {name: np.float64 if name.endswith("places") else np.float32 for name in card["states"]}
        self._start = {name: np.zeros((batch, *shape), kinds[name]) for name, shape in card["states"].items()}
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        self.state: dict[str, Array] = dict(self._start)
        self.count, self._over = 0, False

    def step(self, line: Array) -> NDArray[np.complex64] | None:
        """The focused line (B, output_dim) of `latency` lines ago, or None; `line` is (B, C) complex.

        Raises:
            InputError: real numbers, another shape, NaN or infinity, or a finished stream.
        """
        if self._over:
            raise InputError("stream: it is finished; call reset() before the next scene")
        if not np.iscomplexobj(line):
            raise InputError(f"line {self.count}: expected complex numbers, got {np.asarray(line).dtype}")
        same_shape(f"line {self.count}", line.shape, self._shape)
        if not np.isfinite(line).all():
            raise InputError(
                f"line {self.count}: expected finite numbers, got a NaN or an infinity; replace it by zeros"
            )
        return self._run(line, ENDLESS)

    def finish(self) -> NDArray[np.complex64]:
        """The last lines (B, min(latency, lines that came), output_dim); then the stream is over until `reset`."""
        total, width = self.count, self._session.get_outputs()[0].shape[1]
        lines = [self._run(np.zeros(self._shape, np.complex64), total) for _ in range(self.latency)]
        rest = [line for line in lines if line is not None]
        self._over = True
        return np.stack(rest, 1) if rest else np.zeros((self._shape[0], 0, width), np.complex64)

    def _run(self, line: Array, total: int) -> NDArray[np.complex64] | None:
        feed: dict[str, Any] = {"line": np.stack([line.real, line.imag], -1).astype(np.float32), **self.state}
        feed |= {"count": np.array(self.count, np.int64), "total": np.array(total, np.int64)}
        focused, ready, *states = self._session.run(None, feed)
        self.state = dict(zip(self.state, states))
        self.count += 1
        return (focused[..., 0] + 1j * focused[..., 1]).astype(np.complex64) if bool(ready) else None
