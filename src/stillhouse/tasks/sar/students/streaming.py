"""The step form: line by line in constant memory, with the state in and out.

Shapes: B range bins, C input channels, H model width, S states a channel, D lines that a layer looks ahead. `StreamStep` computes
on complex tensors, or on real pairs (re, im) on a last axis of their own, since ONNX has no complex numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.state_space.block import SOFT, StateSpaceBlock, gain
from stillhouse.layers.state_space.kernel import paired
from stillhouse.tasks.sar.onnx import LineStream
from stillhouse.tasks.sar.students.network import SarSSM


class Stream(LineStream):
    """A network that is fed one line at a time and gives the focused line D lines later.

    The numbers are those of the training form, to rounding: `step` for every line and `finish` at the end give what `forward`
    gives for the whole scene.

    Args:
        model: causal or with a fixed look-ahead; its weights are read once, so make a new stream after training.
        batch: B, range bins that are focused side by side.

    Raises:
        InputError: a bidirectional network, or one in training mode whose dropout would strike.

    Example:
        >>> from stillhouse.tasks.sar.students import StateSpaceConfig
        >>> model = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=2, look_ahead=3).build().eval()
        >>> lines = torch.randn(1, 5, 1, dtype=torch.complex64); stream = Stream(model)
        >>> lines_out = [stream.step(lines[:, t]) for t in range(5)]
        >>> [line is None for line in lines_out], len(stream.finish())
        ([True, True, True, False, False], 3)
    """

    def __init__(self, model: SarSSM, batch: int = 1) -> None:
        if model.training and model.config.dropout > 0:
            raise InputError("stream: expected a network in eval mode, got one whose dropout is on; call model.eval()")
        self._step = StreamStep(model)
        super().__init__(batch, model.config.input_dim, self._step.latency)

    def start(self) -> dict[str, Tensor]:
        """Zeros."""
        shapes = self._step.states().items()
        return {name: self._step.input.new_zeros(self.batch, *shape) for name, shape in shapes}

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all range bins: what a line changes and the next one reads, as `step_cost` counts it for one bin."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state.values())

    @torch.no_grad()
    def run(self, line: Tensor, total: int) -> Tensor | None:
        """One step."""
        focused, ready, *states = self._step(line, self.count, total, *self.state.values())
        self.state = dict(zip(self.state, states))
        return focused if ready else None


class StreamStep(nn.Module):
    """One step: a line (B, C) and the states in; its focus of `latency` lines ago, whether it is one, and the next states out.

    Args:
        model: causal or with a fixed look-ahead; computed as in eval mode.
        pairs: on real pairs, for ONNX.

    Raises:
        InputError: a bidirectional network.
    """

    def __init__(self, model: SarSSM, *, pairs: bool = False) -> None:
        super().__init__()
        if model.config.look_ahead is None:
            raise InputError(
                "streaming: expected a causal network or one with a fixed look_ahead, got a bidirectional one, which needs "
                "the last line before the first"
            )
        self.config, self.latency = model.config, model.config.look_ahead
        self.layers: Any = nn.ModuleList(_Layer(block, pairs) for block in model.blocks)  # type: ignore[arg-type]
        self.input, self.output = (_buffer(x.matrix().T, pairs) for x in (model.input, model.output))
        self.modulation = model.modulation

    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes without B by name."""
        every = enumerate(self.layers)
        return {f"{number}.{name}": shape for number, layer in every for name, shape in layer.states().items()}

    def forward(self, line: Tensor, count: Any, total: Any, *states: Tensor) -> tuple[Any, ...]:
        """`focused` (B, output_dim), `ready` and the next states.

        Args:
            line: (B, C).
            count: lines before this one.
            total: lines of the scene, beyond which the layers read zeros.
            *states: in the order of `states`.
        """
        left, following, latency = list(states), list[Tensor](), 0
        h = _mapped(line[:, : self.config.signal_channels], self.input)
        if self.modulation is not None:
            factor = torch.einsum("bi,hip->bhp", _parts(line[:, -1]), self.modulation)
            h = h + _product(h, torch.view_as_complex(factor.contiguous()) if h.is_complex() else factor)
        for layer in self.layers:
            there = (count >= latency) & (count < total + latency)  # else the line is before the scene or past it
            state = {name: left.pop(0) for name in layer.states()}
            h, after = layer(h * there, state)
            following += [after[name] for name in state]
            latency += layer.ahead
        ready = (count >= latency) & (count < total + latency)
        return (_mapped(h, self.output) * ready, ready, *following)


class _Layer(nn.Module):
    """One block: its output of `ahead` lines ago (B, H), and the next state."""

    def __init__(self, block: StateSpaceBlock, pairs: bool) -> None:
        super().__init__()
        self.block, self.ahead, self.last = block, block.look_ahead, (2,) * pairs
        self.poles, self.weights = (_buffer(x, pairs) for x in block.s4d.discrete())
        self.through, self.mix = _buffer(block.s4d.through(), pairs), _buffer(block.mix.matrix().T, pairs)
        threshold = block.activation.threshold()
        self.threshold = None if threshold is None else nn.Buffer(threshold.detach())

    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes without B by name; only a gate reads the line before."""
        width, block = self.block.s4d.channels, self.block
        found: dict[str, tuple[int, ...]] = {"modes": (width, block.s4d.modes, *self.last)}
        if self.ahead:
            found["delay"] = (self.ahead, width, *self.last)
        return found if block.gate is None else {**found, "previous": (width, *self.last)}

    def forward(self, h: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the newest line (B, H)."""
        block, newest, after = self.block, h, dict[str, Tensor]()
        if self.ahead:
            waiting = torch.cat([state["delay"], h.unsqueeze(1)], 1)
            h, after["delay"] = waiting[:, 0], waiting[:, 1:]
        after["modes"] = _product(state["modes"], self.poles) + newest.unsqueeze(2)
        y = _product(after["modes"], self.weights).sum(2) + _product(h, self.through)
        if block.activation.name != "identity":
            y = _scaled(y, gain(block.activation.name, _modulus(y), self.threshold))
        y = _mapped(y, self.mix)
        if block.gate is not None:
            turn = _product(h, _conjugate(state["previous"]))
            turn = _parts(_scaled(turn, 1 / (_modulus(turn) + SOFT)))
            y = _scaled(y, block.gate.factors(_modulus(h), turn[..., 0], turn[..., 1]))
            after["previous"] = h
        return h + y, after


# ---------------------------------------------------------------------------------------------- complex, or pairs


def _buffer(x: Tensor, pairs: bool) -> nn.Buffer:
    return nn.Buffer((paired(x.detach()) if pairs else x.detach()).contiguous())


def _parts(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


def _product(x: Tensor, y: Tensor) -> Tensor:
    if x.is_complex():
        return x * y
    (a, b), (c, d) = x.unbind(-1), y.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], -1)


def _mapped(x: Tensor, matrix: Tensor) -> Tensor:
    """(B, I) by a complex matrix (I, O)."""
    if x.is_complex():
        return x @ matrix
    (a, b), (c, d) = x.unbind(-1), matrix.unbind(-1)
    return torch.stack([a @ c - b @ d, a @ d + b @ c], -1)


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    return x * (factor if x.is_complex() else factor.unsqueeze(-1))


def _conjugate(x: Tensor) -> Tensor:
    return x.conj() if x.is_complex() else torch.stack([x[..., 0], -x[..., 1]], -1)


def _modulus(x: Tensor) -> Tensor:
    return x.abs() if x.is_complex() else x.square().sum(-1).sqrt()
