"""The step form of a focusing network as ONNX, on real pairs (re, im), since runtimes have no complex numbers.

The graph is built node by node (`onnx_step.py`): no tracing. Running one (`OnnxStream`) takes no torch.

Shapes: B range bins, C input channels.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.outputs import check_output
from stillhouse.core.records import write_atomically
from stillhouse.families.sar.onnx_nodes import Array
from stillhouse.families.sar.onnx_step import StepGraph

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.families.sar.students.network import SarSSM

OPSET, IR_VERSION = 18, 9  # old enough for runtimes of 2023
ENDLESS = 2**62
BLANK = "0" * 64
CHECKED, ROUNDING = 200, 1e-4  # made-up samples, and the largest difference of the largest number
FORMAT = "stillhouse-state-space-step-1"


def export_step(model: SarSSM, path: Path) -> Path:
    """Write one step of `Stream` as an ONNX graph: a line and the state in, a focused line and the next state out.

    Inputs: `line` (B, C, 2) float32; `count` () int64, lines before this one; `total` () int64, lines of the scene (2^62 while
    that is unknown), beyond which the layers read zeros; the states by name. Outputs: `focused` (B, output_dim, 2), zero while
    `ready` () is false; the states as `next.<name>`. B is free. `OnnxStream` runs it.

    Args:
        model: causal or with a fixed look-ahead, in float32; computed as in eval mode.
        path: of the .onnx file.

    Returns:
        `path`.

    Raises:
        InputError: a bidirectional network or one in double precision; or the package onnx is not installed.
    """
    check_output(Path(path))
    try:
        import onnx
    except ImportError:
        raise InputError("onnx: the package is not installed; pip install 'stillhouse[export]'") from None
    dtype = str(next(model.parameters()).dtype)
    if dtype != "torch.float32":
        raise InputError(f"ONNX export: expected a float32 network, got {dtype}; call model.float()")
    step = StepGraph(onnx, model)
    graph = onnx.helper.make_model(
        step.finished(),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="stillhouse",
    )
    card = {"format": FORMAT, "latency": step.latency, "channels": model.config.input_dim, "states": step.states}
    onnx.helper.set_model_props(graph, {"stillhouse": json.dumps(card)})
    onnx.checker.check_model(graph, full_check=True)
    write_atomically(Path(path), lambda file: file.write(with_own_hash(graph)))
    return Path(path)


def with_own_hash(graph: Any) -> bytes:
    """A graph as a file, with the sha256 of all of it (that number taken as zeros) among its properties."""
    entry = graph.metadata_props.add()
    entry.key, entry.value = "sha256", BLANK
    raw: bytes = graph.SerializeToString()
    return raw.replace(BLANK.encode(), hashlib.sha256(raw).hexdigest().encode())


def is_whole(raw: bytes) -> bool:
    """Whether a file is as `with_own_hash` made it, as far as it says."""
    found = re.search(rb"sha256\x12\x40([0-9a-f]{64})", raw)
    return found is None or hashlib.sha256(raw.replace(found[1], BLANK.encode())).hexdigest().encode() == found[1]


def write_checked_step(model: SarSSM, path: Path, lines: Tensor, what: str) -> str:
    """`export_step`, then lines through onnxruntime, held against the network.

    Args:
        model: the network.
        path: of the file.
        lines: (B, L, C) complex64, in the units of the network.
        what: the lines in words.

    Raises:
        InputError: see `export_step`; or other lines come out.
    """
    import torch

    export_step(model, path)
    with torch.no_grad():
        expected = model(lines).numpy()
    stream = OnnxStream(path, batch=len(lines))
    made = [line for t in range(lines.shape[1]) if (line := stream.step(lines[:, t].numpy())) is not None]
    got = np.concatenate([np.stack(made, 1), stream.finish()], 1) if made else stream.finish()
    largest = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not largest <= ROUNDING:
        raise InputError(f"{path.name}: expected the lines of the network within {ROUNDING}, got {largest:.2g} apart")
    return f"{what} within {largest:.1g} of the network's"


def made_up_lines(model: SarSSM) -> Tensor:
    """(1, L, C) noise, for a network whose data are not at hand."""
    import torch

    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(1, CHECKED, model.config.input_dim, dtype=torch.complex64, generator=generator)
    if model.config.coded:  # a place in the swath, and lines along it
        lines[..., -1] = torch.complex(torch.tensor(0.8), torch.arange(CHECKED) / CHECKED)
    return lines


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
        raw = Path(path).read_bytes()
        if not is_whole(raw):
            raise InputError(f"{path} was changed after it was written: its sha256 is not that of its content")
        try:
            self._session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
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
