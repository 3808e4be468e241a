"""ONNX nodes one by one, with complex arithmetic on pairs (re, im) of names, since runtimes have no complex numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[str, str]
Array = NDArray[Any]


class Nodes:
    """Nodes and constants in the order in which they are added; a complex tensor is a pair of names."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, name: str | None = None, **settings: Any) -> str:
        """The name of a new node's output."""
        out = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [out], **settings))
        return out

    def number(self, value: Any, kind: Any = np.float32) -> str:
        """The name of a new real constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, kind)
        return name

    def integers(self, *values: int) -> str:
        """The name of a new constant of whole numbers, as axes and bounds are given."""
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
        """A complex tensor with the pair as its last axis, as the graph puts it out."""
        parts = [self.add("Unsqueeze", part, self.integers(-1)) for part in x]
        return self.add("Concat", *parts, axis=-1, name=name)

    def plus(self, x: Pair, y: Pair) -> Pair:
        """x + y."""
        return self.add("Add", x[0], y[0]), self.add("Add", x[1], y[1])

    def scaled(self, x: Pair, factor: str) -> Pair:
        """x times a real factor."""
        return self.add("Mul", x[0], factor), self.add("Mul", x[1], factor)

    def product(self, op: str, x: Pair, y: Pair) -> Pair:
        """Complex `Mul` or `MatMul`."""
        rr, ii, ri, ir = (self.add(op, x[i], y[j]) for i, j in ((0, 0), (1, 1), (0, 1), (1, 0)))
        return self.add("Sub", rr, ii), self.add("Add", ri, ir)

    def conjugate(self, x: Pair) -> Pair:
        """(re, -im)."""
        return x[0], self.add("Neg", x[1])

    def power(self, x: Pair) -> str:
        """|x|^2."""
        return self.add("Add", *(self.add("Mul", part, part) for part in x))

    def modulus(self, x: Pair) -> str:
        """|x|."""
        return self.add("Sqrt", self.power(x))

    def every(self, op: str, x: Pair, *rest: str, **settings: Any) -> Pair:
        """One real operation on both parts."""
        return self.add(op, x[0], *rest, **settings), self.add(op, x[1], *rest, **settings)
