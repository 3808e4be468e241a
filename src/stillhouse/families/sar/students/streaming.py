"""The step form: line by line in constant memory, with the state in and out.

Shapes: B range bins, C input channels, H model width, D lines of latency.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.layers.state_space import BlockState, StateSpaceBlock
from stillhouse.layers.state_space.activation import gain


class Stream:
    """A network that is fed one line at a time and gives the focused line D lines later.

    The numbers are those of the training form, to rounding: `step` for every line and `finish` at the end give what `forward`
    gives for the whole scene. `push` takes many lines at once, by FFT, with the same state.

    Args:
        model: causal or with a fixed look-ahead; its weights are read once, so make a new stream after training.
        batch: B, range bins that are focused side by side.
        state_steps: one a layer; the filter's state is rounded to 8-bit multiples of it after every line (`quantize` finds
            the steps and measures them).

    Raises:
        InputError: a bidirectional network, or one in training mode whose dropout would strike.

    Example:
        >>> from stillhouse.families.sar.students import StateSpaceConfig
        >>> model = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=2, look_ahead=3).build().eval()
        >>> lines = torch.randn(1, 5, 1, dtype=torch.complex64); stream = Stream(model)
        >>> lines_out = [stream.step(lines[:, t]) for t in range(5)]
        >>> [line is None for line in lines_out], tuple(stream.finish().shape)
        ([True, True, True, False, False], (1, 3, 1))
    """

    def __init__(self, model: SarSSM, batch: int = 1, *, state_steps: Sequence[float] | None = None) -> None:
        if model.training and model.config.dropout > 0:
            raise InputError("stream: expected a network in eval mode, got one whose dropout is on; call model.eval()")
        self.model, self.batch = model, batch
        self.latency = sum(block.look_ahead for block in _blocks(model))
        self.kind = next(model.parameters()).dtype.to_complex()
        with torch.no_grad():
            self._input, self._output = model.input.matrix().T.contiguous(), model.output.matrix().T.contiguous()
            steps = [None] * len(model.blocks) if state_steps is None else list(state_steps)
            if len(steps) != len(model.blocks):
                raise InputError(f"state_steps: expected one for each of {len(model.blocks)} layers, got {len(steps)}")
            self._layers = [_Layer(block, batch, step) for block, step in zip(_blocks(model), steps)]
        self._seen, self._over = 0, False
        self._column: Tensor | None = None

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        for layer in self._layers:
            layer.state = layer.block.initial(self.batch)
        self._seen, self._over, self._column = 0, False, None

    @torch.no_grad()
    def step(self, line: Tensor) -> Tensor | None:
        """The focused line of `latency` lines ago (B, output_dim); None while that was before the first.

        Args:
            line: (B, C) complex.

        Raises:
            InputError: real numbers, another shape, a NaN or infinity (it would stay in the state for ever), or a finished
                stream. The state is as it was before.
        """
        self._check(line, (self.batch, self.model.config.input_dim))
        self._place(line.unsqueeze(1))
        if self.model.modulation is None and not self.model.config.coded:
            h: Tensor | None = line @ self._input
            needs_places = self.model.config.use_selectivity == "deramp"
            places = self.model.places(line.unsqueeze(1), None, self._seen)[:, 0] if needs_places else None
        else:
            embedded, many = self.model.embed(line.unsqueeze(1), self._seen)
            h, places = embedded[:, 0], None if many is None else many[:, 0]
        self._seen += 1
        for layer in self._layers:
            if h is None:
                return None
            h, places = layer.step(h, places)
        return None if h is None else h @ self._output

    @torch.no_grad()
    def push(self, lines: Tensor) -> Tensor:
        """The focused lines (B, L', output_dim) that become ready with a chunk of lines (B, L, C); L' may be 0.

        Raises:
            InputError: as `step`, or rounded states, which only `step` has.
        """
        if self._layers[0].state_step is not None:
            raise InputError("push: a stream with rounded states goes line by line; use step()")
        self._check(lines, (self.batch, lines.shape[1] if lines.ndim == 3 else 0, self.model.config.input_dim))
        if lines.shape[1] == 0:
            return lines.new_zeros(self.batch, 0, self.model.config.output_dim)
        self._place(lines)
        h, places = self.model.embed(lines, self._seen)
        self._seen += lines.shape[1]
        return self._through(0, h, places)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The last lines (B, min(latency, lines that came), output_dim); then the stream is over until `reset`.

        Each layer reads zeros past its last line, as the training form does; so they are flushed one after the other.
        """
        self._check_open()
        rest = []
        for place, layer in enumerate(self._layers):
            ahead = layer.block.look_ahead
            if ahead:
                silence = layer.state.previous.new_zeros(self.batch, ahead, self.model.config.model_dim)
                nowhere = torch.zeros(self.batch, ahead, 2, dtype=torch.float64, device=silence.device)
                ready, places = layer.block.advance(
                    silence, nowhere if layer.block.deramp else None, layer.state, self._column
                )
                rest.append(self._through(place + 1, ready, places))
        self._over = True
        return torch.cat(rest, 1) if rest else self._output.new_zeros(self.batch, 0, self.model.config.output_dim)

    @property
    def state(self) -> dict[str, Tensor]:
        """A copy of all that is remembered: tensors by name, a fixed number of bytes."""
        found = {
            f"blocks.{place}.{name}": tensor.clone()
            for place, layer in enumerate(self._layers)
            for name, tensor in layer.state.tensors().items()
        }
        if self.model.config.condition == "range":
            found["column"] = self._column_or_middle().clone()
        return {**found, "seen": torch.tensor(self._seen)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where another stream of the same network and batch stood; this opens a finished stream again.

        Raises:
            InputError: entries missing or too many, or of another shape (another network or batch).
        """
        own = self.state
        if set(own) != set(state):
            raise InputError(f"stream state: entries {sorted(set(own) ^ set(state))} are missing or too many")
        for name, tensor in own.items():
            same_shape(f"stream state {name}", tuple(state[name].shape), tuple(tensor.shape))
        for place, layer in enumerate(self._layers):
            parts = {name: state[f"blocks.{place}.{name}"] for name in layer.state.tensors()}
            seen = int(parts.pop("seen"))
            copied = {name: x.to(getattr(layer.state, name)).clone() for name, x in parts.items()}
            layer.state = BlockState(**copied, seen=seen)
        self._seen, self._over = int(state["seen"]), False
        if "column" in state:
            self._set_column(state["column"].to(own["column"]).clone() if self._seen else None)

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all range bins: what a line changes and the next one reads, as `step_cost` counts it for one bin.

        The counters of lines and the place across the swath, which `state` has too, are not among them.
        """
        parts = [tensor for layer in self._layers for tensor in layer.block.remembered(layer.state)]
        return sum(tensor.numel() * tensor.element_size() for tensor in parts)

    def _through(self, first: int, h: Tensor, places: Tensor | None) -> Tensor:
        for layer in self._layers[first:]:
            if h.shape[1] == 0:
                break
            h, places = layer.block.advance(h, places, layer.state, self._column)
        return h @ self._output

    def _place(self, lines: Tensor) -> None:
        """Take the place across the swath from the first line of a scene."""
        if self._column is None and self.model.config.condition == "range":
            self._set_column(self.model.column(lines))

    def _set_column(self, column: Tensor | None) -> None:
        self._column = column
        for layer in self._layers:
            layer.at(column)

    def _column_or_middle(self) -> Tensor:
        middle = torch.full((self.batch,), 0.5, dtype=self.kind.to_real(), device=self._output.device)
        return middle if self._column is None else self._column

    def _check(self, line: Tensor, shape: tuple[int, ...]) -> None:
        self._check_open()
        if not line.is_complex():
            raise InputError(
                f"line {self._seen}: expected complex numbers, got {line.dtype}; use torch.complex(re, im)"
            )
        same_shape(f"line {self._seen}", tuple(line.shape), shape)
        if not bool(torch.isfinite(line).all()):
            raise InputError(
                f"line {self._seen}: expected finite numbers, got a NaN or an infinity; replace it by zeros"
            )

    def _check_open(self) -> None:
        if self._over:
            raise InputError("stream: it is finished; call reset() before the next scene")


class _Layer:
    """One block with its weights made ready for single lines: no autograd, the filter's state updated in place."""

    def __init__(self, block: StateSpaceBlock, batch: int, state_step: float | None) -> None:
        self.block, self.state, self.state_step = block, block.initial(batch), state_step
        self.through = block.s4d.through()
        self.at(None)
        self.mix = block.mix.matrix().T.contiguous()
        self.threshold = block.activation.threshold()

    @torch.no_grad()
    def at(self, column: Tensor | None) -> None:
        """Poles and weights, of a layer with a condition those of lines at these places (B)."""
        self.poles, self.weights = self.block.s4d.discrete(column=column)
        self.read = "bhm,bhm->bh" if self.weights.ndim == 3 else "bhm,hm->bh"

    def step(self, h: Tensor, places: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """(B, H) in, the output of `look_ahead` lines ago (B, H) and its place out."""
        block, state, ahead = self.block, self.state, self.block.look_ahead
        newest = self._enter(h, places)
        state.modes.mul_(self.poles).add_(newest.unsqueeze(-1))
        if self.state_step is not None:
            torch.view_as_real(state.modes).div_(self.state_step).round_().clamp_(-127, 127).mul_(self.state_step)
        state.seen += 1
        current = newest
        if ahead:
            oldest, state.delay = state.delay[:, 0], torch.cat([state.delay[:, 1:], h.unsqueeze(1)], 1)
            h = oldest
            if places is not None:
                place = state.places[:, 0]
                state.places = torch.cat([state.places[:, 1:], places.unsqueeze(1)], 1)
                places = place
            if state.seen <= ahead:
                return None, None
            current = self._enter(h, places)
        y = torch.einsum(self.read, state.modes, self.weights) + self.through * current
        if block.deramp is not None and places is not None:
            y = block.deramp.leave(y.unsqueeze(1), places.unsqueeze(1))[:, 0]
        if block.activation.name != "identity":
            y = y * gain(block.activation.name, y.abs(), self.threshold)
        y = y @ self.mix
        if block.gate is not None:
            y = block.gate(h.unsqueeze(1), state.previous)[:, 0] * y
        state.previous = h
        return h + y, places

    def _enter(self, h: Tensor, places: Tensor | None) -> Tensor:
        u = self.block.norm(h)
        if self.block.deramp is None or places is None:
            return u
        return self.block.deramp.enter(u.unsqueeze(1), places.unsqueeze(1))[:, 0]


def _blocks(model: SarSSM) -> list[StateSpaceBlock]:
    return [block for block in model.blocks if isinstance(block, StateSpaceBlock)]


@dataclass(frozen=True)
class Latency:
    """Measured milliseconds a line, and the lines of algorithmic latency before the first answer.

    Attributes:
        median_ms: by the clock.
        slowest_tenth_ms: by the clock, what a tenth of the lines exceed.
        processor_ms: mean processor time of all threads; other work on the machine stretches the clock, and not evenly.
        latency_lines: between a line and its focus.
        lines: that were timed.
    """

    median_ms: float
    slowest_tenth_ms: float
    processor_ms: float
    latency_lines: int
    lines: int


def measure_latency(model: SarSSM, *, lines: int = 200, warm_up: int = 20, batch: int = 1) -> Latency:
    """Time of `Stream.step`, line by line, after a warm-up that fills the look-ahead.

    Args:
        model: can stream.
        lines: that are timed.
        warm_up: that are not, beside the look-ahead.
        batch: range bins side by side.

    Returns:
        Clock and processor time.
    """
    stream = Stream(model, batch)
    random = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    feed = torch.randn(16, batch, model.config.input_dim, generator=random, dtype=torch.complex64).to(
        device, stream.kind
    )
    waits, begun = [], 0.0
    for number in range(stream.latency + warm_up + lines):
        if number == stream.latency + warm_up:
            begun = time.process_time()
        before = time.perf_counter()
        stream.step(feed[number % 16])
        if feed.is_cuda:
            torch.cuda.synchronize()
        waits.append(1000 * (time.perf_counter() - before))
    processor = 1000 * (time.process_time() - begun) / lines
    timed = sorted(waits[-lines:])
    slow = timed[min(lines - 1, (9 * lines) // 10)]
    return Latency(statistics.median(timed), slow, processor, stream.latency, lines)
