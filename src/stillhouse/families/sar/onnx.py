"""The step form of a focusing network as ONNX, on real pairs (re, im), since runtimes have no complex numbers.

The graph is built node by node: no tracing. Running one (`OnnxStream`) takes no torch.

Shapes: B range bins, C input channels, H channels, S states a channel, D lines that a layer looks ahead.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.outputs import check_output
from stillhouse.core.records import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.families.sar.students.network import SarSSM
    from stillhouse.layers.state_space import Deramp, PhaseGate, RangeCondition, StateSpaceBlock

Pair = tuple[str, str]
Array = NDArray[Any]
OPSET, IR_VERSION = 18, 9  # old enough for runtimes of 2023
ENDLESS = 2**62
BLANK = "0" * 64
CHECKED, ROUNDING = 200, 1e-4  # lines, and the largest difference of the largest number
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
    step = _Step(onnx, model)
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


def write_checked_step(model: SarSSM, path: Path) -> str:
    """`export_step`, then made-up lines through onnxruntime, held against the network.

    Raises:
        InputError: see `export_step`; or other lines come out.
    """
    import torch

    export_step(model, path)
    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(1, CHECKED, model.config.input_dim, dtype=torch.complex64, generator=generator)
    if model.config.coded:  # a place in the swath, and lines along it
        lines[..., -1] = torch.complex(torch.tensor(0.8), torch.arange(CHECKED) / CHECKED)
    with torch.no_grad():
        expected = model(lines).numpy()[0]
    stream = OnnxStream(path)
    made = [line for t in range(CHECKED) if (line := stream.step(lines[:, t].numpy())) is not None]
    got = np.concatenate([np.stack(made, 1), stream.finish()], 1)[0] if made else stream.finish()[0]
    largest = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not largest <= ROUNDING:
        raise InputError(f"{path.name}: expected the lines of the network within {ROUNDING}, got {largest:.2g} apart")
    return f"{CHECKED} made-up lines within {largest:.1g} of the network's"


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


class _Graph:
    """Nodes and constants in the order in which they are added; a complex tensor is a pair of names."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, name: str | None = None, **settings: Any) -> str:
        out = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [out], **settings))
        return out

    def number(self, value: Any, kind: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, kind)
        return name

    def integers(self, *values: int) -> str:
        return self.number(list(values), np.int64)

    def fixed(self, value: Tensor) -> Pair:
        """A complex constant."""
        array = value.detach().cpu().resolve_conj().numpy()
        return self.number(array.real), self.number(array.imag)

    def split(self, pairs: str, axis: int = -1) -> Pair:
        """(re, im) of a tensor whose last axis is the pair."""
        first, second = (self.add("Gather", pairs, self.number(i, np.int64), axis=axis) for i in (0, 1))
        return first, second

    def stacked(self, x: Pair, name: str) -> str:
        parts = [self.add("Unsqueeze", part, self.integers(-1)) for part in x]
        return self.add("Concat", *parts, axis=-1, name=name)

    def plus(self, x: Pair, y: Pair) -> Pair:
        return self.add("Add", x[0], y[0]), self.add("Add", x[1], y[1])

    def scaled(self, x: Pair, factor: str) -> Pair:
        return self.add("Mul", x[0], factor), self.add("Mul", x[1], factor)

    def product(self, op: str, x: Pair, y: Pair) -> Pair:
        """Complex `Mul` or `MatMul`."""
        rr, ii, ri, ir = (self.add(op, x[i], y[j]) for i, j in ((0, 0), (1, 1), (0, 1), (1, 0)))
        return self.add("Sub", rr, ii), self.add("Add", ri, ir)

    def conjugate(self, x: Pair) -> Pair:
        return x[0], self.add("Neg", x[1])

    def power(self, x: Pair) -> str:
        return self.add("Add", *(self.add("Mul", part, part) for part in x))

    def modulus(self, x: Pair) -> str:
        return self.add("Sqrt", self.power(x))

    def every(self, op: str, x: Pair, *rest: str, **settings: Any) -> Pair:
        """One real operation on both parts."""
        return self.add(op, x[0], *rest, **settings), self.add(op, x[1], *rest, **settings)


class _Step(_Graph):
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

    def __init__(self, graph: _Step, block: StateSpaceBlock, prefix: str) -> None:
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
