"""One step of a focusing network on real pairs (re, im), the last axis of every complex tensor, and its export to ONNX.

Shapes: B range bins, C input channels, H channels, S states a channel, D lines that a layer looks ahead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.outputs import check_output
from stillhouse.core.records import write_atomically
from stillhouse.export.program import first_line, quiet
from stillhouse.families.sar.onnx import ENDLESS, FORMAT, OnnxStream
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.layers.state_space import ComplexRMSNorm, StateSpaceBlock
from stillhouse.layers.state_space.activation import gain
from stillhouse.layers.state_space.gate import SOFT
from stillhouse.layers.state_space.pairs import paired

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
    step = _Step(model)
    states = step.states()
    kinds = {name: torch.float64 if name.endswith("places") else torch.float32 for name in states}
    start = [torch.zeros(2, *shape, dtype=kinds[name]) for name, shape in states.items()]
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


class _Step(nn.Module):
    """The whole step; its states go round in the order of `states`."""

    def __init__(self, model: SarSSM) -> None:
        super().__init__()
        self.config = model.config
        layers = [_Layer(block) for block in model.blocks if isinstance(block, StateSpaceBlock)]
        self.layers: Any = nn.ModuleList(layers)
        self.latency = sum(layer.ahead for layer in layers)
        self.input, self.output = (nn.Buffer(_pairs(x.matrix().T)) for x in (model.input, model.output))
        self.modulation = model.modulation

    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes without B by name."""
        every = enumerate(self.layers)
        return {f"{number}.{name}": shape for number, layer in every for name, shape in layer.states().items()}

    def forward(self, line: Tensor, count: Tensor, total: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """`focused`, `ready` and the next states."""
        config, left, following, latency = self.config, list(states), list[Tensor](), 0
        code = line[:, -1]  # (B, 2)
        h = _mapped(line if config.position == "channel" else line[:, : config.signal_channels], self.input)
        if self.modulation is not None:
            h = h + _product(h, torch.einsum("bi,hip->bhp", code, self.modulation))
        place = None
        if config.use_selectivity == "deramp":
            scale = code.new_tensor([1.0, config.position_lines]).double()
            counted = torch.stack([torch.zeros_like(count), count]).double()
            place = code.double() * scale if config.coded else 0 * code.double() + counted
        for layer in self.layers:
            there = (count >= latency) & (count < total + latency)  # else the line is before the scene or past it
            state = {name: left.pop(0) for name in layer.states()}
            h, place, after = layer(h * there.to(h.dtype), place, state)
            following += [after[name] for name in state]
            latency += layer.ahead
        ready = (count >= latency) & (count < total + latency)
        return (_mapped(h, self.output) * ready.to(h.dtype), ready, *following)


class _Layer(nn.Module):
    """One block: its output of `ahead` lines ago (B, H, 2), that line's place (B, 2), and the next state."""

    def __init__(self, block: StateSpaceBlock) -> None:
        super().__init__()
        block.s4d.initial(1)  # a bidirectional layer is refused here: it has no step form
        self.block, self.ahead = block, block.look_ahead
        self.poles, self.weights = (nn.Buffer(_pairs(x)) for x in block.s4d.discrete())
        self.through, self.mix = nn.Buffer(_pairs(block.s4d.through())), nn.Buffer(_pairs(block.mix.matrix().T))

    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes without B by name."""
        width, block = self.block.s4d.channels, self.block
        found: dict[str, tuple[int, ...]] = {"modes": (width, block.s4d.states, 2)}
        if self.ahead:
            found["delay"] = (self.ahead, width, 2)
        if self.ahead and block.deramp is not None:
            found["places"] = (self.ahead, 2)
        return found if block.gate is None else {**found, "previous": (width, 2)}

    def forward(
        self, h: Tensor, place: Tensor | None, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Of the newest line (B, H, 2)."""
        block, after = self.block, dict[str, Tensor]()
        newest = current = self._enter(h, place)
        if self.ahead:
            h, after["delay"] = _delayed(state["delay"], h)
            if place is not None:
                place, after["places"] = _delayed(state["places"], place)
            current = self._enter(h, place)
        after["modes"] = _product(state["modes"], self.poles) + newest.unsqueeze(-2)
        y = _product(after["modes"], self.weights).sum(-2) + _product(current, self.through)
        if place is not None:
            phasor, window = self._phasor(place)
            y = _product(y, _conjugate(phasor)) * window
        if block.activation.name != "identity":
            y = y * gain(block.activation.name, _modulus(y), block.activation.threshold()).unsqueeze(-1)
        y = _mapped(y, self.mix)
        if block.gate is not None:
            turn = _product(h, _conjugate(state["previous"]))
            turn = turn / (_modulus(turn).unsqueeze(-1) + SOFT)
            y = y * block.gate.factors(_modulus(h), turn[..., 0], turn[..., 1]).unsqueeze(-1)
            after["previous"] = h
        return h + y, place, after

    def _enter(self, h: Tensor, place: Tensor | None) -> Tensor:
        norm = self.block.norm
        if isinstance(norm, ComplexRMSNorm):
            power = h.square().sum(-1).mean(-1, keepdim=True)
            h = h * (norm.gain * torch.rsqrt(power + norm.floor)).unsqueeze(-1)
        return h if place is None else _product(h, self._phasor(place)[0])

    def _phasor(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Unit phasors (B, H, 2) and windows (B, H, 1), 1 for the plain channels."""
        deramp = self.block.deramp
        assert deramp is not None
        phase, window = (
            nn.functional.pad(x[:, 0].float(), (deramp.plain, 0), value=one)
            for x, one in zip(deramp.phase(place.unsqueeze(1)), (0.0, 1.0))
        )
        return torch.stack([phase.cos(), phase.sin()], -1), window.unsqueeze(-1)


def _pairs(x: Tensor) -> Tensor:
    return paired(x.detach()).contiguous()


def _delayed(waiting: Tensor, newest: Tensor) -> tuple[Tensor, Tensor]:
    """The oldest of D waiting rows (B, D, ...), and those that wait then."""
    joined = torch.cat([waiting, newest.unsqueeze(1)], 1)
    return joined[:, 0], joined[:, 1:]


def _product(x: Tensor, y: Tensor) -> Tensor:
    (a, b), (c, d) = x.unbind(-1), y.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], -1)


def _mapped(x: Tensor, matrix: Tensor) -> Tensor:
    """(B, I, 2) by a complex matrix (I, O, 2)."""
    (a, b), (c, d) = x.unbind(-1), matrix.unbind(-1)
    return torch.stack([a @ c - b @ d, a @ d + b @ c], -1)


def _conjugate(x: Tensor) -> Tensor:
    return torch.stack([x[..., 0], -x[..., 1]], -1)


def _modulus(x: Tensor) -> Tensor:
    return x.square().sum(-1).sqrt()
