"""One step of a focusing network as an ONNX graph on real pairs (re, im), the last axis of every complex tensor.

Shapes: B range bins, C input channels, L lines.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.outputs import check_output
from stillhouse.core.records import write_atomically
from stillhouse.export.program import first_line, quiet
from stillhouse.tasks.sar.onnx import FORMAT, OnnxStream
from stillhouse.tasks.sar.students.line_stream import ENDLESS
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.streaming import StreamStep

CHECKED, ROUNDING = 200, 1e-4  # made-up samples, and the largest difference of the largest number


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
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"onnx: {error.name} is not installed; pip install 'stillhouse[export]'") from None
    if (dtype := next(model.parameters()).dtype) != torch.float32:
        raise InputError(f"ONNX export: expected a float32 network, got {dtype}; call model.float()")
    step = StreamStep(model, pairs=True)
    states = step.states()
    start = [torch.zeros(2, *shape) for shape in states.values()]
    line = torch.zeros(2, model.config.input_dim, 2)
    rows = {0: torch.export.Dim("batch", min=1, max=2**20)}
    with quiet(), torch.no_grad():
        try:
            made = torch.onnx.export(
                step,
                (line, torch.tensor(0), torch.tensor(ENDLESS), *start),
                input_names=["line", "count", "total", *states],
                output_names=["focused", "ready", *(f"next.{name}" for name in states)],
                dynamic_shapes=(rows, None, None, (rows,) * len(states)),
                dynamo=True,
            )
        except Exception as error:  # of the tracer's own kinds
            raise InputError(f"onnx: torch cannot export this network: {first_line(error)}") from None
    assert made is not None
    card = {"format": FORMAT, "latency": step.latency, "channels": model.config.input_dim, "states": states}
    written = made.model_proto
    written.metadata_props.add(key="stillhouse", value=json.dumps(card))
    write_atomically(Path(path), lambda file: file.write(written.SerializeToString()))
    return Path(path)


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
    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(1, CHECKED, model.config.input_dim, dtype=torch.complex64, generator=generator)
    if model.config.coded:  # a place in the swath, and lines along it
        lines[..., -1] = torch.complex(torch.tensor(0.8), torch.arange(CHECKED) / CHECKED)
    return lines
