"""The embedding network as an ONNX graph, built node by node: no tracing, and torch is not needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.families.embed.export.numpy_embedder import NumpyEmbedder

OPSET, IR_VERSION = 18, 9  # old enough for runtimes of 2023


def save_onnx(embedder: NumpyEmbedder, path: Path) -> int:
    """Write the graph `vectors` (rows, D) -> `codes` (rows, d) with its weights inside; returns the opset.

    Raises:
        InputError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise InputError(
            "onnx: the package is not installed; pip install 'stillhouse[export]', or onnx=False"
        ) from None
    graph = _Graph(onnx)
    graph.build(embedder)
    model = onnx.helper.make_model(
        graph.finished(embedder.card["teacher_dim"], sum(embedder.levels)),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="stillhouse",
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return OPSET


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def build(self, embedder: NumpyEmbedder) -> None:
        w, card = embedder.weights, embedder.card
        x = self.unit("vectors", "vectors") if card["normalize"] else "vectors"
        c = self.add("Sub", x, self.constant("mean", w["mean"]))
        h = self.gelu(self.linear(c, "w1", w["w1"], w["b1"]))
        h = self.gelu(self.linear(h, "w2", w["w2"], w["b2"]))
        z = self.add("Add", self.linear(c, "skip", w["skip"]), self.linear(h, "w3", w["w3"]))
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.placed(z, embedder)], ["codes"]))

    def placed(self, z: str, embedder: NumpyEmbedder) -> str:
        output, first, numbers = embedder.card["output"], embedder.levels[0], sum(embedder.levels)
        if output == "euclidean":
            return z
        rest = numbers - first
        front = self.part(z, 0, first) if rest else z
        if output == "sphere":
            front = self.unit(front, "code")
        else:
            front = self.add("Tanh", self.add("Div", front, self.number("scale", embedder.card["scale"])))
        return self.add("Concat", front, self.part(z, first, numbers), axis=1) if rest else front

    def unit(self, x: str, name: str) -> str:
        """x / max(||x||, 1e-12), row by row."""
        axes = self.constant(f"{name}_axes", np.array([1], np.int64))
        norm = self.add("ReduceL2", x, axes, keepdims=1)
        return self.add("Div", x, self.add("Max", norm, self.number("tiny", 1e-12)))

    def part(self, x: str, start: int, end: int) -> str:
        bounds = [self.constant(f"{n}_{start}", np.array([v], np.int64)) for n, v in (("from", start), ("to", end))]
        return self.add("Slice", x, *bounds, self.constant("columns", np.array([1], np.int64)))

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        y = self.add("MatMul", x, self.constant(name, np.ascontiguousarray(weight.T)))
        return y if bias is None else self.add("Add", y, self.constant(f"{name}_bias", bias))

    def gelu(self, x: str) -> str:
        """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): the operator Gelu came with opset 20 only."""
        cube = self.add("Mul", self.add("Mul", x, x), x)
        inner = self.add("Add", x, self.add("Mul", cube, self.number("cubic", 0.044715)))
        bent = self.add("Tanh", self.add("Mul", inner, self.number("root", math.sqrt(2 / math.pi))))
        gate = self.add("Add", bent, self.number("one", 1.0))
        return self.add("Mul", self.add("Mul", x, self.number("half", 0.5)), gate)

    def add(self, kind: str, *inputs: str, **attributes: int) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def finished(self, width: int, numbers: int) -> Any:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        given = helper.make_tensor_value_info("vectors", kind, ["rows", width])
        codes = helper.make_tensor_value_info("codes", kind, ["rows", numbers])
        return helper.make_graph(self.nodes, "embedder", [given], [codes], list(self.constants.values()))
