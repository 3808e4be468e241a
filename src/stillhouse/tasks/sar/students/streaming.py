"""The step form: line by line in constant memory, with the state in and out.

Shapes: B range bins, C input channels, H model width, S states a channel, D lines that a layer looks ahead. `StreamStep` computes
on complex tensors, or on real pairs (re, im) on a last axis of their own, since ONNX has no complex numbers.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.state_space import ComplexRMSNorm, StateSpaceBlock
from stillhouse.layers.state_space.activation import gain
from stillhouse.layers.state_space.gate import SOFT
from stillhouse.layers.state_space.pairs import paired
from stillhouse.tasks.sar.students.line_stream import LineStream
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
        >>> [line is None for line in lines_out], tuple(stream.finish().shape)
        ([True, True, True, False, False], (1, 3, 1))
    """

    def __init__(self, model: SarSSM, batch: int = 1) -> None:
        if model.training and model.config.dropout > 0:
            raise InputError("stream: expected a network in eval mode, got one whose dropout is on; call model.eval()")
        self._step = StreamStep(model)
        self.kind, self._device = self._step.input.dtype, self._step.input.device
        super().__init__(batch, model.config.input_dim, self._step.latency)

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        super().reset()
        shapes = self._step.states()
        self.state: dict[str, Tensor] = {
            name: torch.zeros(self.batch, *shape, dtype=self.kind, device=self._device)
            for name, shape in shapes.items()
        }

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all range bins: what a line changes and the next one reads, as `step_cost` counts it for one bin."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state.values())

    @torch.no_grad()
    def _run(self, line: Tensor, total: int) -> Tensor | None:
        focused, ready, *states = self._step(line, self.count, total, *self.state.values())
        self.state = dict(zip(self.state, states))
        self.count += 1
        return focused if ready else None

    def _silence(self) -> Tensor:
        return torch.zeros(self.batch, self.channels, dtype=self.kind, device=self._device)

    def _together(self, lines: list[Tensor]) -> Tensor:
        width = self._step.config.output_dim
        return torch.stack(lines, 1) if lines else self._silence().new_zeros(self.batch, 0, width)


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
        self.config = model.config
        layers = [_Layer(block, pairs) for block in model.blocks if isinstance(block, StateSpaceBlock)]
        self.layers: Any = nn.ModuleList(layers)
        self.latency = sum(layer.ahead for layer in layers)
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
        config, left, following, latency = self.config, list(states), list[Tensor](), 0
        h = _mapped(line if config.position == "channel" else line[:, : config.signal_channels], self.input)
        code = _parts(line[:, -1])  # (B, 2)
        if self.modulation is not None:
            h = h + _product(h, _like(torch.einsum("bi,hip->bhp", code, self.modulation), h))
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
        block.s4d.initial(1)  # a bidirectional layer is refused here: it has no step form
        self.block, self.ahead, self.last = block, block.look_ahead, (2,) * pairs
        self.poles, self.weights = (_buffer(x, pairs) for x in block.s4d.discrete())
        self.through, self.mix = _buffer(block.s4d.through(), pairs), _buffer(block.mix.matrix().T, pairs)
        threshold = block.activation.threshold()
        self.threshold = None if threshold is None else nn.Buffer(threshold.detach())

    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes without B by name; only a gate reads the line before."""
        width, block = self.block.s4d.channels, self.block
        found: dict[str, tuple[int, ...]] = {"modes": (width, block.s4d.states, *self.last)}
        if self.ahead:
            found["delay"] = (self.ahead, width, *self.last)
        return found if block.gate is None else {**found, "previous": (width, *self.last)}

    def forward(self, h: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the newest line (B, H)."""
        block, after = self.block, dict[str, Tensor]()
        newest = current = self._normed(h)
        if self.ahead:
            h, after["delay"] = _delayed(state["delay"], h)
            current = self._normed(h)
        after["modes"] = _product(state["modes"], self.poles) + newest.unsqueeze(2)
        y = _product(after["modes"], self.weights).sum(2) + _product(current, self.through)
        if block.activation.name != "identity":
            y = _scaled(y, gain(block.activation.name, _modulus(y), self.threshold))
        y = _mapped(y, self.mix)
        if block.gate is not None:
            turn = _product(h, _conjugate(state["previous"]))
            turn = _parts(_scaled(turn, 1 / (_modulus(turn) + SOFT)))
            y = _scaled(y, block.gate.factors(_modulus(h), turn[..., 0], turn[..., 1]))
            after["previous"] = h
        return h + y, after

    def _normed(self, h: Tensor) -> Tensor:
        norm = self.block.norm
        if isinstance(norm, ComplexRMSNorm):
            power = _parts(h).square().sum(-1).mean(-1, keepdim=True)
            h = _scaled(h, norm.gain * torch.rsqrt(power + norm.floor))
        return h


# ---------------------------------------------------------------------------------------------- complex, or pairs


def _buffer(x: Tensor, pairs: bool) -> nn.Buffer:
    return nn.Buffer((paired(x.detach()) if pairs else x.detach()).contiguous())


def _parts(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


def _like(parts: Tensor, x: Tensor) -> Tensor:
    return torch.view_as_complex(parts.contiguous()) if x.is_complex() else parts


def _delayed(waiting: Tensor, newest: Tensor) -> tuple[Tensor, Tensor]:
    """The oldest of D waiting rows (B, D, ...), and those that wait then."""
    joined = torch.cat([waiting, newest.unsqueeze(1)], 1)
    return joined[:, 0], joined[:, 1:]


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


# ---------------------------------------------------------------------------------------------- its time


@dataclass(frozen=True)
class Latency:
    """Measured milliseconds a line, and the lines of algorithmic latency before the first answer.

    Attributes:
        median_ms: by the clock.
        slowest_tenth_ms: by the clock, what a tenth of the lines exceed.
        processor_ms: mean processor time of all threads; other work on the machine stretches the clock, and not evenly.
        latency_lines: between a line and its focus.
    """

    median_ms: float
    slowest_tenth_ms: float
    processor_ms: float
    latency_lines: int


def measure_latency(model: SarSSM, *, lines: int = 200, warm_up: int = 20, batch: int = 1) -> Latency:
    """Time of `Stream.step`, line by line, after a warm-up that fills the look-ahead.

    Args:
        model: can stream.
        lines: that are timed.
        warm_up: that are not, beside the look-ahead.
        batch: range bins side by side.
    """
    stream = Stream(model, batch)
    shape, random = (16, batch, model.config.input_dim), torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    feed = itertools.cycle(torch.randn(shape, generator=random, dtype=torch.complex64).to(device, stream.kind))
    found = timed(lambda: stream.step(next(feed)), lines, warm_up=stream.latency + warm_up)
    return Latency(*found, stream.latency)


@torch.no_grad()
def timed(call: Callable[[], Any], count: int, *, warm_up: int) -> tuple[float, float, float]:
    """Milliseconds of a call, after some that are not counted.

    Returns:
        By the clock the median and what a tenth of the calls exceed; the mean of the processor's time.
    """
    waits, begun = [], 0.0
    for number in range(warm_up + count):
        begun = time.process_time() if number == warm_up else begun
        before = time.perf_counter()
        call()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        waits.append(1000 * (time.perf_counter() - before))
    processor = 1000 * (time.process_time() - begun) / count
    found = sorted(waits[-count:])
    return statistics.median(found), found[min(count - 1, (9 * count) // 10)], processor
