"""The step form: line by line in constant memory, with the state in and out.

Shapes: B range bins, C input channels, H model width, D lines of latency.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.layers.state_space import StateSpaceBlock
from stillhouse.layers.state_space.activation import gain


class Stream:
    """A network that is fed one line at a time and gives the focused line D lines later.

    The numbers are those of the training form, to rounding: `step` for every line and `finish` at the end give what `forward`
    gives for the whole scene.

    Args:
        model: causal or with a fixed look-ahead; its weights are read once, so make a new stream after training.
        batch: B, range bins that are focused side by side.

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

    def __init__(self, model: SarSSM, batch: int = 1) -> None:
        if model.training and model.config.dropout > 0:
            raise InputError("stream: expected a network in eval mode, got one whose dropout is on; call model.eval()")
        self.model, self.batch = model, batch
        self.kind = next(model.parameters()).dtype.to_complex()
        with torch.no_grad():
            self._input, self._output = model.input.matrix().T.contiguous(), model.output.matrix().T.contiguous()
            self._layers = [_Layer(block, batch) for block in model.blocks if isinstance(block, StateSpaceBlock)]
        self.latency = sum(layer.ahead for layer in self._layers)
        self._seen, self._over = 0, False

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        for layer in self._layers:
            layer.reset()
        self._seen, self._over = 0, False

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
        if not self.model.config.coded and self.model.config.use_selectivity != "deramp":
            h: Tensor | None = line @ self._input
            places = None
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
    def finish(self) -> Tensor:
        """The last lines (B, min(latency, lines that came), output_dim); then the stream is over until `reset`.

        Each layer reads zeros past its last line, as the training form does.
        """
        self._check_open()
        silence = self._output.new_zeros(self.batch, self.model.config.model_dim)
        nowhere = torch.zeros(self.batch, 2, dtype=torch.float64, device=silence.device)
        rest = []
        for late in range(self.latency):
            h, places, latency = None, None, 0
            for layer in self._layers:
                if late >= latency:  # the layers before are through with the scene
                    h, places = silence, nowhere if layer.block.deramp is not None else None
                latency += layer.ahead
                if late < latency and h is not None:
                    h, places = layer.step(h, places)
            if h is not None:
                rest.append(h @ self._output)
        self._over = True
        if rest:
            return torch.stack(rest, 1)
        return self._output.new_zeros(self.batch, 0, self.model.config.output_dim)

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all range bins: what a line changes and the next one reads, as `step_cost` counts it for one bin."""
        parts = [tensor for layer in self._layers for tensor in layer.remembered()]
        return sum(tensor.numel() * tensor.element_size() for tensor in parts)

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
    """One block with its weights made ready for single lines, and its state: no autograd, the state updated in place.

    Attributes:
        modes: (B, H, states) complex, the filter's state.
        delay: (B, D, H) complex, the lines that wait for their output, oldest first.
        places: (B, D, 2) float64, their places; (B, 0, 2) where nothing deramps.
        previous: (B, H) complex, the last line that left, for the gate.
        seen: lines that came in so far.
    """

    def __init__(self, block: StateSpaceBlock, batch: int) -> None:
        self.block, self.batch, self.ahead = block, batch, block.look_ahead
        self.reset()
        self.poles, self.weights = block.s4d.discrete()
        self.through = block.s4d.through()
        self.mix = block.mix.matrix().T.contiguous()
        self.threshold = block.activation.threshold()

    def reset(self) -> None:
        """The state before the first line; a bidirectional layer is refused."""
        width, waiting = self.block.s4d.channels, 0 if self.block.deramp is None else self.ahead
        self.modes = self.block.s4d.initial(self.batch)
        self.delay = self.modes.new_zeros(self.batch, self.ahead, width)
        self.places = torch.zeros(self.batch, waiting, 2, dtype=torch.float64, device=self.modes.device)
        self.previous = self.modes.new_zeros(self.batch, width)
        self.seen = 0

    def remembered(self) -> tuple[Tensor, ...]:
        """The tensors that this layer reads again; only a gate reads the line before."""
        lines = (self.modes, self.delay, self.places)
        return lines if self.block.gate is None else (*lines, self.previous)

    def step(self, h: Tensor, places: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """(B, H) in, the output of `ahead` lines ago (B, H) and its place out."""
        block = self.block
        newest = self._enter(h, places)
        self.modes.mul_(self.poles).add_(newest.unsqueeze(-1))
        self.seen += 1
        current = newest
        if self.ahead:
            oldest, self.delay = self.delay[:, 0], torch.cat([self.delay[:, 1:], h.unsqueeze(1)], 1)
            h = oldest
            if places is not None:
                place = self.places[:, 0]
                self.places = torch.cat([self.places[:, 1:], places.unsqueeze(1)], 1)
                places = place
            if self.seen <= self.ahead:
                return None, None
            current = self._enter(h, places)
        y = torch.einsum("bhm,hm->bh", self.modes, self.weights) + self.through * current
        if block.deramp is not None and places is not None:
            y = block.deramp.leave(y.unsqueeze(1), places.unsqueeze(1))[:, 0]
        if block.activation.name != "identity":
            y = y * gain(block.activation.name, y.abs(), self.threshold)
        y = y @ self.mix
        if block.gate is not None:
            y = block.gate(h.unsqueeze(1), self.previous)[:, 0] * y
        self.previous = h
        return h + y, places

    def _enter(self, h: Tensor, places: Tensor | None) -> Tensor:
        return self.block.enter(h.unsqueeze(1), None if places is None else places.unsqueeze(1))[:, 0]


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
