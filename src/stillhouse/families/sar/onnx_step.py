"""One step of a focusing network as an ONNX graph: embedding, layers with their states, output. No tracing.

Shapes: B range bins, C input channels, H channels, S states a channel, D lines that a layer looks ahead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.families.sar.onnx_nodes import Array, Nodes, Pair

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.families.sar.students.network import SarSSM
    from stillhouse.layers.state_space import Deramp, PhaseGate, RangeCondition, StateSpaceBlock


class StepGraph(Nodes):
    """The whole step; `states` are the shapes (without B) by name that go round."""

    def __init__(self, onnx: Any, model: SarSSM) -> None:
        super().__init__(onnx)
        from stillhouse.layers.state_space import StateSpaceBlock

        self.model, self.config = model, model.config
        self.states: dict[str, list[int]] = {}
        self.latency = 0
        self.place_across = self.column() if self.config.condition == "range" else None

        h, place = self.embed()
        for number, block in enumerate(model.blocks):
            if isinstance(block, StateSpaceBlock):
                h, place = _Layer(self, block, f"{number}.").build(self.scaled(h, self.there()), place)
                self.latency += block.look_ahead
        ready = self.add("Identity", self.there(np.bool_), name="ready")
        focused = self.product("MatMul", h, self.fixed(model.output.matrix().T))
        self.stacked(self.scaled(focused, self.add("Cast", ready, to=self.onnx.TensorProto.FLOAT)), "focused")

    def embed(self) -> tuple[Pair, str | None]:
        """Embedded line (B, H), and its place (B, 2) double where the layers deramp."""
        config = self.config
        line = self.split("line")
        used = config.input_dim if config.position == "channel" else config.signal_channels
        signal = self.every("Slice", line, self.integers(0), self.integers(used), self.integers(1))
        h = self.product("MatMul", signal, self.fixed(self.model.input.matrix().T))
        last = self.number(config.input_dim - 1, np.int64)
        code = self.add("Gather", "line", last, axis=1)  # (B, 2)
        if self.model.modulation is not None:
            weight = self.model.modulation.detach().cpu().numpy()  # (H, 2, 2)
            shift = tuple(self.add("MatMul", code, self.number(weight[..., part].T)) for part in (0, 1))
            h = self.plus(h, self.product("Mul", h, (shift[0], shift[1])))
        if config.use_selectivity != "deramp":
            return h, None
        double = self.onnx.TensorProto.DOUBLE
        wide = self.add("Cast", code, to=double)
        if config.coded:
            return h, self.add("Mul", wide, self.number([[1.0, config.position_lines]], np.float64))
        number = self.add("Mul", self.add("Cast", "count", to=double), self.number([[0.0, 1.0]], np.float64))
        return h, self.add("Add", self.add("Mul", wide, self.number(0.0, np.float64)), number)

    def column(self) -> str:
        """(B, 1) place across the swath: of the scene's first line, kept in the state for all others."""
        self.states["column"] = [1]
        code = self.add("Gather", "line", self.number(self.config.input_dim - 1, np.int64), axis=1)
        now = self.add("Slice", code, self.integers(0), self.integers(1), self.integers(1))
        first = self.add("Equal", "count", self.number(0, np.int64))
        return self.add("Where", first, now, "column", name="next.column")

    def there(self, kind: Any = np.float32) -> str:
        """1 where the line at this depth is one of the scene, 0 before its first and past its last."""
        begun = self.add("GreaterOrEqual", "count", self.number(self.latency, np.int64))
        end = self.add("Add", "total", self.number(self.latency, np.int64))
        both = self.add("And", begun, self.add("Less", "count", end))
        return both if kind is np.bool_ else self.add("Cast", both, to=self.onnx.TensorProto.FLOAT)

    def finished(self) -> Any:
        """The graph, with its inputs, outputs and constants."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        kinds = {name: types.DOUBLE if name.endswith("places") else types.FLOAT for name in self.states}

        def value(name: str, kind: Any, shape: list[Any]) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        inputs = [value("line", types.FLOAT, ["batch", self.config.input_dim, 2])]
        inputs += [value(name, types.INT64, []) for name in ("count", "total")]
        inputs += [value(name, kinds[name], ["batch", *shape]) for name, shape in self.states.items()]
        outputs = [value("focused", types.FLOAT, ["batch", self.config.output_dim, 2]), value("ready", types.BOOL, [])]
        outputs += [value(f"next.{name}", kinds[name], ["batch", *shape]) for name, shape in self.states.items()]
        constants = [self.onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        return helper.make_graph(self.nodes, "state-space step", inputs, outputs, constants)


class _Layer:
    """One block in a graph; its states are named with a prefix."""

    def __init__(self, graph: StepGraph, block: StateSpaceBlock, prefix: str) -> None:
        self.g, self.block, self.prefix = graph, block, prefix
        block.s4d.initial(1)  # a bidirectional layer is refused here: it has no step form

    def build(self, h: Pair, place: str | None) -> tuple[Pair, str | None]:
        """The block's output of `look_ahead` lines ago (B, H), and its place."""
        g, block = self.g, self.block
        newest = self._enter(h, place)
        poles, weights = self._dynamics()
        state = g.split(self._state("modes", block.s4d.channels, block.s4d.states, 2))
        added = g.every("Unsqueeze", newest, g.integers(-1))
        modes = g.plus(g.product("Mul", state, poles), added)
        g.stacked(modes, f"next.{self.prefix}modes")
        current = newest
        if block.look_ahead:
            h = self._delayed(h)
            place = None if place is None else self._delayed_place(place)
            current = self._enter(h, place)
        read = g.every("ReduceSum", g.product("Mul", modes, weights), g.integers(-1), keepdims=0)
        y = g.plus(read, g.product("Mul", current, g.fixed(block.s4d.through())))
        if block.deramp is not None and place is not None:
            phasor, window = self._phasor(block.deramp, place)
            y = g.scaled(g.product("Mul", y, g.conjugate(phasor)), window)
        y = g.product("MatMul", self._activated(y), g.fixed(block.mix.matrix().T))
        if block.gate is not None:
            y = g.scaled(y, self._gate(block.gate, h))
        return g.plus(h, y), place

    def _dynamics(self) -> tuple[Pair, Pair]:
        """Poles and weights (H, S), or (B, H, S) of the lines at their places across the swath."""
        from stillhouse.layers.state_space.kernel import MOST_DECAY, MOST_SHIFT
        from stillhouse.layers.state_space.pairs import joined

        g, s4d = self.g, self.block.s4d
        if s4d.condition is None or g.place_across is None:
            fixed = s4d.discrete()
            return g.fixed(fixed[0]), g.fixed(fixed[1])
        basis, log_stretch = self._range(s4d.condition, g.place_across)

        def array(value: Tensor) -> Array:
            return value.detach().cpu().double().numpy()

        def last(x: str, axis: int) -> str:
            return g.add("Unsqueeze", x, g.integers(axis))

        def added(coefficients: Tensor) -> Pair:
            """(B, H, M), what the range adds to the read-outs."""
            flat, shape = (
                array(coefficients).reshape(len(coefficients), -1, 2),
                g.integers(-1, *coefficients.shape[1:3]),
            )
            re, im = (g.add("MatMul", basis, g.number(flat[..., part])) for part in (0, 1))
            return g.add("Reshape", re, shape), g.add("Reshape", im, shape)

        def polar(log_radius: str, angle: str) -> Pair:
            radius = g.add("Exp", log_radius)
            return g.add("Mul", radius, g.add("Cos", angle)), g.add("Mul", radius, g.add("Sin", angle))

        unit = np.exp(array(s4d.log_dt))[:, None]
        decay, frequency = np.exp(array(s4d.log_decay)), array(s4d.frequency)
        stretch = last(g.add("Exp", log_stretch), -1)
        dt = g.add("Mul", g.number(unit), stretch)  # (B, H, 1)
        rate = g.add("Div", g.add("Min", g.add("Mul", g.number(decay), dt), g.number(MOST_DECAY)), dt)
        turns = g.number(frequency)
        poles = polar(g.add("Neg", g.add("Mul", rate, dt)), g.add("Mul", turns, dt))
        power = g.add("Add", g.add("Mul", rate, rate), g.add("Mul", turns, turns))
        inverse = g.add("Div", g.add("Neg", rate), power), g.add("Div", g.add("Neg", turns), power)  # 1 / w
        weights = g.product("Mul", (g.add("Sub", poles[0], g.number(1.0)), poles[1]), inverse)
        weights = g.product("Mul", weights, g.plus(added(s4d.condition.outputs), g.fixed(joined(s4d.output))))
        if s4d.look_ahead:
            moved = g.add("Mul", g.number(unit * s4d.look_ahead), g.add("Sub", g.number(1.0), stretch))
            slow = np.minimum(decay * unit, MOST_DECAY) / unit
            gained = g.add("Neg", g.add("Mul", g.number(slow), moved))
            gained = g.add("Clip", gained, g.number(-MOST_SHIFT), g.number(MOST_SHIFT))
            weights = g.product("Mul", weights, polar(gained, g.add("Mul", turns, moved)))
        if not s4d.real_kernel:
            return poles, weights
        return self._with_twins(poles), self._with_twins(weights)

    def _range(self, condition: RangeCondition, column: str) -> tuple[str, str]:
        """Legendre polynomials (B, degree) of the place across the swath, and the log of the time unit (B, 1)."""
        g = self.g
        place = g.add("Clip", column, g.number(0.0), g.number(1.0))
        middle = g.add("Sub", place, g.number(0.5))
        x = g.add("Mul", middle, g.number(2.0))
        rising = [g.add("Add", g.add("Mul", x, g.number(0.0)), g.number(1.0)), x]
        for n in range(1, condition.degree):
            upper = g.add("Mul", g.add("Mul", rising[n], x), g.number((2 * n + 1) / (n + 1)))
            rising.append(g.add("Sub", upper, g.add("Mul", rising[n - 1], g.number(n / (n + 1)))))
        scaled = [g.add("Mul", one, g.number((2 * n + 1) ** 0.5)) for n, one in enumerate(rising) if n]
        basis = g.add("Concat", *scaled, axis=-1)
        growth = g.add("Add", g.add("Mul", middle, g.number(condition.spread)), g.number(1.0))
        physics = g.add("Mul", g.add("Log", growth), g.number(-0.5))
        learned = g.add("MatMul", basis, g.number(condition.stretch.detach().cpu().numpy()[:, None]))
        return basis, g.add("Add", physics, learned)

    def _with_twins(self, x: Pair) -> Pair:
        g, mirrored = self.g, self.g.conjugate(x)
        return g.add("Concat", x[0], mirrored[0], axis=-1), g.add("Concat", x[1], mirrored[1], axis=-1)

    def _state(self, name: str, *shape: int) -> str:
        self.g.states[self.prefix + name] = list(shape)
        return self.prefix + name

    def _delayed(self, h: Pair) -> Pair:
        g, ahead = self.g, self.block.look_ahead
        waiting = g.split(self._state("delay", ahead, self.block.s4d.channels, 2))
        newest = g.every("Unsqueeze", h, g.integers(1))
        joined = g.add("Concat", waiting[0], newest[0], axis=1), g.add("Concat", waiting[1], newest[1], axis=1)
        later = g.every("Slice", joined, g.integers(1), g.integers(ahead + 1), g.integers(1))
        g.stacked(later, f"next.{self.prefix}delay")
        return g.every("Gather", joined, g.number(0, np.int64), axis=1)

    def _delayed_place(self, place: str) -> str:
        g, ahead = self.g, self.block.look_ahead
        newest = g.add("Unsqueeze", place, g.integers(1))
        joined = g.add("Concat", self._state("places", ahead, 2), newest, axis=1)
        ends = g.integers(1), g.integers(ahead + 1), g.integers(1)
        g.add("Slice", joined, *ends, name=f"next.{self.prefix}places")
        return g.add("Gather", joined, g.number(0, np.int64), axis=1)

    def _enter(self, h: Pair, place: str | None) -> Pair:
        from stillhouse.layers.state_space import ComplexRMSNorm

        g, norm = self.g, self.block.norm
        if isinstance(norm, ComplexRMSNorm):
            power = g.add("ReduceMean", g.power(h), g.integers(-1), keepdims=1)
            root = g.add("Sqrt", g.add("Add", power, g.number(norm.floor)))
            h = g.scaled(h, g.add("Div", g.number(norm.gain.detach().cpu().numpy()), root))
        if self.block.deramp is None or place is None:
            return h
        return g.product("Mul", h, self._phasor(self.block.deramp, place)[0])

    def _phasor(self, part: Deramp, place: str) -> tuple[Pair, str]:
        """Unit phasor and window (B, H): turns in double precision, what is left of a turn in single."""
        g, single = self.g, self.g.onnx.TensorProto.FLOAT

        def wide(value: Any) -> str:
            return g.number(value, np.float64)

        def learned(value: Tensor | Array) -> Array:
            """A value a channel: 0 for the plain ones, which gives them the phasor and the window 1."""
            array = value if isinstance(value, np.ndarray) else value.detach().cpu().double().numpy()
            return np.pad(np.broadcast_to(array, part.center.shape), (part.plain, 0))

        reach, line = (g.add("Gather", place, g.integers(i), axis=1) for i in (0, 1))  # (B, 1)
        shifted = g.add("Add", line, wide(part.block / 2 - learned(part.center)))
        blocks = g.add("Floor", g.add("Div", shifted, wide(float(part.block))))
        inside = g.add("Sub", shifted, g.add("Mul", blocks, wide(float(part.block))))
        eta = g.add("Sub", inside, wide(part.block / 2))
        rate = wide(learned(1 + part.rate_change))
        if part.range_slope is not None:
            rate = g.add("Add", g.add("Mul", reach, wide(learned(part.range_slope))), rate)
        half = g.add("Mul", g.add("Mul", eta, eta), wide(0.5 * part.rate))
        turns = g.add("Mul", rate, half)
        left = g.add("Cast", g.add("Sub", turns, g.add("Floor", turns)), to=single)
        phase = g.add("Mul", left, g.number(2 * math.pi))
        spread = g.add("Cast", g.add("Mul", eta, wide(learned((-part.log_width).double().exp()))), to=single)
        window = g.add("Exp", g.add("Mul", g.add("Mul", spread, spread), g.number(-0.5)))
        return (g.add("Cos", phase), g.add("Sin", phase)), window

    def _activated(self, y: Pair) -> Pair:
        from stillhouse.layers.state_space.activation import LEAK, TINY

        g, name = self.g, self.block.activation.name
        if name == "identity":
            return y
        modulus = g.modulus(y)
        if name == "gelu":
            normal = g.add("Erf", g.add("Mul", modulus, g.number(1 / math.sqrt(2))))
            return g.scaled(y, g.add("Mul", g.add("Add", normal, g.number(1.0)), g.number(0.5)))
        if name == "silu":
            return g.scaled(y, g.add("Sigmoid", modulus))
        if name == "hardswish":
            ramp = g.add("Mul", g.add("Add", modulus, g.number(3.0)), g.number(1 / 6))
            return g.scaled(y, g.add("Min", ramp, g.number(1.0)))
        safe = g.add("Max", modulus, g.number(TINY))
        if name == "tanh":
            return g.scaled(y, g.add("Div", g.add("Tanh", safe), safe))
        threshold = self.block.activation.threshold()
        if threshold is None:
            raise InputError(f"activation: ONNX export does not know {name!r}")
        share = g.add("Div", g.number(threshold.detach().cpu().numpy()), safe)
        floor = g.number(LEAK if name == "leakyrelu" else 0.0)
        return g.scaled(y, g.add("Max", g.add("Sub", g.number(1.0), share), floor))

    def _gate(self, gate: PhaseGate, h: Pair) -> str:
        from stillhouse.layers.state_space.gate import SOFT

        g, width = self.g, self.block.s4d.channels
        previous = g.split(self._state("previous", width, 2))
        g.stacked(h, f"next.{self.prefix}previous")
        turn = g.product("Mul", h, g.conjugate(previous))
        turn = g.every("Div", turn, g.add("Add", g.modulus(turn), g.number(SOFT)))
        magnitude = g.add("Log", g.add("Add", g.modulus(h), g.number(1.0)))
        features = g.add("Concat", magnitude, *turn, axis=-1)
        inner = self._affine(features, gate.inner.weight, gate.inner.bias)
        normal = g.add("Erf", g.add("Mul", inner, g.number(1 / math.sqrt(2))))
        hidden = g.add("Mul", g.add("Mul", inner, g.number(0.5)), g.add("Add", normal, g.number(1.0)))
        outer = self._affine(hidden, gate.outer.weight, gate.outer.bias)
        return g.add("Mul", g.add("Sigmoid", outer), g.number(2.0))

    def _affine(self, x: str, weight: Tensor, bias: Tensor) -> str:
        g = self.g
        product = g.add("MatMul", x, g.number(weight.detach().cpu().numpy().T))
        return g.add("Add", product, g.number(bias.detach().cpu().numpy()))
