"""The step form: line by line in constant memory.

Shapes: B range bins, C input channels, H model width, M modes, D lines that a layer looks ahead.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.layers.state_space.block import StateSpaceBlock
from stillhouse.tasks.sar.students.network import SarSSM


class Stream:
    """A network that is fed one line at a time and gives the focused line D lines later.

    The numbers are those of the training form, to rounding: `step` for every line and `finish` at the end give what `forward`
    gives for the whole scene.

    Args:
        model: causal or with a fixed look-ahead; its poles are read once, so make a new stream after training.
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
        if model.config.look_ahead is None:
            raise InputError(
                "streaming: expected a causal network or one with a fixed look_ahead, got a bidirectional one, which needs "
                "the last line before the first"
            )
        self.batch, self.latency, self._model = batch, model.config.look_ahead, model
        blocks: Any = model.blocks
        self._layers = [_Layer(block) for block in blocks]
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next line is the first one."""
        self.count = 0
        self.state = [layer.start(self.batch) for layer in self._layers]

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all range bins: what a line changes and the next one reads, as `step_cost` counts it for one bin."""
        return sum(x.numel() * x.element_size() for state in self.state for x in state.values())

    def step(self, line: Tensor) -> Tensor | None:
        """The focused line (B, output_dim) of `latency` lines ago; None while that was before the first.

        Args:
            line: (B, C) complex.

        Raises:
            InputError: real numbers, another shape, or a NaN or infinity (it would stay in the state for ever). The state is as it
                was before.
        """
        if not line.is_complex():
            raise InputError(f"line {self.count}: expected complex numbers, got {line.dtype}")
        same_shape(f"line {self.count}", tuple(line.shape), (self.batch, self._model.config.input_dim))
        if not bool(torch.isfinite(line).all()):
            raise InputError(f"line {self.count}: expected finite numbers, got a NaN or an infinity")
        return self._next(line, math.inf)

    def finish(self) -> list[Tensor]:
        """The last lines, as many as the latency or as came; then the next line is the first of another scene.

        Each layer reads zeros past its last line, as the training form does.
        """
        total = self.count
        nothing = self._model.input.weight.new_zeros(self.batch, self._model.config.input_dim, dtype=torch.complex64)
        rest = [self._next(nothing, total) for _ in range(self.latency if total else 0)]
        self.reset()
        return [line for line in rest if line is not None]

    @torch.no_grad()
    def _next(self, line: Tensor, total: float) -> Tensor | None:
        """One line of a scene of so many through every layer."""
        h, latency = self._model.embed(line.unsqueeze(1)).squeeze(1), 0
        for layer, state in zip(self._layers, self.state):
            there = latency <= self.count < total + latency  # else the line is before the scene or past it
            h = layer.step(h if there else torch.zeros_like(h), state)
            latency += layer.ahead
        ready = latency <= self.count < total + latency
        self.count += 1
        return self._model.output(h) if ready else None


class _Layer:
    """One block, with its poles and weights in discrete time."""

    def __init__(self, block: StateSpaceBlock) -> None:
        self.block, self.ahead = block, block.look_ahead
        with torch.no_grad():
            self.poles, self.weights = block.s4d.discrete()
            self.through = block.s4d.through()

    def start(self, batch: int) -> dict[str, Tensor]:
        """Zeros; only a gate reads the line before."""
        width, modes = self.poles.shape
        state = {"modes": self.poles.new_zeros(batch, width, modes)}
        if self.ahead:
            state["delay"] = self.poles.new_zeros(batch, self.ahead, width)
        if self.block.gate is not None:
            state["previous"] = self.poles.new_zeros(batch, width)
        return state

    def step(self, newest: Tensor, state: dict[str, Tensor]) -> Tensor:
        """The output (B, H) of `ahead` lines ago; the state moves on."""
        block, h = self.block, newest
        if self.ahead:
            waiting = torch.cat([state["delay"], newest.unsqueeze(1)], 1)
            h, state["delay"] = waiting[:, 0], waiting[:, 1:]
        state["modes"] = state["modes"] * self.poles + newest.unsqueeze(2)
        y = block.mix(block.activation((state["modes"] * self.weights).sum(2) + h * self.through))
        if block.gate is None:
            return h + y
        y = block.gate(h.unsqueeze(1), state["previous"]).squeeze(1) * y
        state["previous"] = h
        return h + y
