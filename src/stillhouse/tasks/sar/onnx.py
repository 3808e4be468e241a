"""One step of a focusing network as an ONNX graph, run without torch on line after line.

Shapes: B range bins, C input channels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.students.line_stream import LineStream

FORMAT = "stillhouse-state-space-step-1"
Array = NDArray[Any]


class OnnxStream(LineStream):
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
        self._start = {name: np.zeros((batch, *shape), np.float32) for name, shape in card["states"].items()}
        super().__init__(batch, int(card["channels"]), card["latency"])

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        super().reset()
        self.state: dict[str, Array] = dict(self._start)

    def _run(self, line: Array, total: int) -> NDArray[np.complex64] | None:
        feed: dict[str, Any] = {"line": np.stack([line.real, line.imag], -1).astype(np.float32), **self.state}
        feed |= {"count": np.array(self.count, np.int64), "total": np.array(total, np.int64)}
        focused, ready, *states = self._session.run(None, feed)
        self.state = dict(zip(self.state, states))
        self.count += 1
        return (focused[..., 0] + 1j * focused[..., 1]).astype(np.complex64) if bool(ready) else None

    def _silence(self) -> NDArray[np.complex64]:
        return np.zeros((self.batch, self.channels), np.complex64)

    def _together(self, lines: list[Array]) -> NDArray[np.complex64]:
        width = self._session.get_outputs()[0].shape[1]
        return np.stack(lines, 1) if lines else np.zeros((self.batch, 0, width), np.complex64)
