"""Reads emitted Verilog back, from the text alone: what a proof is about is the file, not what was meant to be written.

Only the lines that `verilog` writes are understood; any other is an error, for a proof about half a file would be none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stillhouse.core.checks import InputError

_TERM = r"(~?)([A-Za-z]\w*|\{L\{1'b[01]\}\})"
_INPUT = re.compile(r"wire \[L-1:0\] (\w+) = x\[(\d+)\*L \+: L\];")
_WIRE = re.compile(rf"wire \[L-1:0\] (\w+) = {_TERM}(?: ([&^|]) {_TERM})?;")
_REGISTER = re.compile(r"reg \[L-1:0\] (\w+);")
_TICK = re.compile(rf"always @\(posedge clk\) (\w+) <= {_TERM};")
_OUTPUT = re.compile(rf"assign (score|best|value)\[(\d+)\*L \+: L\] = {_TERM};")
_PORT = re.compile(r"(?:input wire|output wire|output reg) (?:\[(\d+)\*L-1:0\] )?(\w+),?")


@dataclass(slots=True)
class Circuit:
    """What a module computes, lane by lane.

    A signal is `2 * node`, plus 1 where inverted; node 0 is the constant 0.

    Attributes:
        gates: of each node: "x" and the number of an input bit twice, or "&", "^" and two signals; node 0 is ("0", 0, 0).
        names: signal of each name.
        late: registers between the inputs and a node; None for a constant, which is never late.
        outputs: signals of `score` and `best`, or of `value`.
        inputs: F.
    """

    inputs: int
    gates: list[tuple[str, int, int]] = field(default_factory=lambda: [("0", 0, 0)])
    names: dict[str, int] = field(default_factory=dict)
    late: list[int | None] = field(default_factory=lambda: [None])
    outputs: dict[str, list[int]] = field(default_factory=dict)

    def evaluate(self, bits: np.ndarray, forced: Mapping[int, np.ndarray] | None = None) -> Planes:
        """Every signal for rows (B, F); `forced` nodes have the values (B) given."""
        fixed = {node: np.packbits(plane.astype(bool), bitorder="little") for node, plane in (forced or {}).items()}
        words = np.packbits(bits.astype(bool).T, axis=1, bitorder="little")
        out = np.zeros((len(self.gates), words.shape[1]), dtype=np.uint8)
        for node, (operation, a, b) in enumerate(self.gates):
            if node in fixed:
                out[node] = fixed[node]
            elif operation == "x":
                out[node] = words[a]
            elif operation != "0":
                x = ~out[a >> 1] if a & 1 else out[a >> 1]
                y = ~out[b >> 1] if b & 1 else out[b >> 1]
                out[node] = x & y if operation == "&" else x ^ y
        return Planes(out, len(bits))


@dataclass(frozen=True, slots=True)
class Planes:
    """Values of every node, 8 rows a byte."""

    planes: np.ndarray
    rows: int

    def number(self, signals: list[int], *, signed: bool = False) -> np.ndarray:
        """(B) int64: signals as the bits of a number, lowest first."""
        out = np.zeros(self.rows, dtype=np.int64)
        for i, signal in enumerate(signals):
            plane = np.unpackbits(self.planes[signal >> 1], bitorder="little")[: self.rows].astype(np.int64) ^ (
                signal & 1
            )
            out += plane * (-(2**i) if signed and i == len(signals) - 1 else 2**i)
        return out


def ports(text: str, name: str) -> dict[str, int]:
    """How many bits a module's ports have in a lane."""
    found: dict[str, int] = {}
    for line in module_lines(text, name):
        if line == ");":
            break
        port = _PORT.fullmatch(line)
        if port is None:
            raise _unread(line)
        found[port[2]] = int(port[1] or 1)
    return found


def read_verilog(text: str, name: str = "clauses") -> Circuit:
    """The circuit of one module of a text.

    Raises:
        InputError: a line that is not of the part of Verilog that `verilog` writes, a signal used before it is made or made
            twice, a gate whose inputs are not equally late, outputs without a driver.
    """
    sizes = ports(text, name)
    if set(sizes) != {"x", "value"} and not {"x", "score"} <= set(sizes) <= {"clk", "x", "score", "best"}:
        raise InputError(
            f"verilog: expected the ports x and value, or x, score, and perhaps clk and best, got {', '.join(sizes)}"
        )
    circuit = Circuit(sizes["x"])
    driven: dict[str, dict[int, int]] = {port: {} for port in ("score", "best", "value") if port in sizes}
    waiting: set[str] = set()

    def term(inverted: str, own: str) -> int:
        if own.startswith("{"):
            return int(own[-3]) ^ bool(inverted)
        if own not in circuit.names:
            raise InputError(f"verilog: expected signals made before they are used, got {own}")
        return circuit.names[own] ^ bool(inverted)

    def make(own: str, signal: int) -> None:
        if own in circuit.names or own in ("clk", "x", "score", "best", "value", "L"):
            raise InputError(f"verilog: expected each signal once, got {own} twice")
        circuit.names[own] = signal

    def node(operation: str, a: int, b: int, late: int | None) -> int:
        circuit.gates.append((operation, a, b))
        circuit.late.append(late)
        return 2 * len(circuit.gates) - 2

    started = False
    for line in module_lines(text, name):
        if not started:
            started = line == ");"
        elif found := _INPUT.fullmatch(line):
            if int(found[2]) >= circuit.inputs:
                raise InputError(f"verilog: expected bits of x below {circuit.inputs}, got {found[2]}")
            make(found[1], node("x", int(found[2]), int(found[2]), 0))
        elif found := _WIRE.fullmatch(line):
            a = term(found[2], found[3])
            if found[4] is None:
                make(found[1], a)
                continue
            b, flip = term(found[5], found[6]), found[4] == "|"
            late = _equally_late(circuit, found[1], a, b)
            make(found[1], node("&" if flip else found[4], a ^ flip, b ^ flip, late) ^ flip)
        elif found := _REGISTER.fullmatch(line):
            waiting.add(found[1])
        elif found := _TICK.fullmatch(line):
            if found[1] not in waiting or "clk" not in sizes:
                raise _unread(line)
            waiting.remove(found[1])
            a = term(found[2], found[3])
            late = circuit.late[a >> 1]
            make(found[1], a if late is None else node("&", a, a, late + 1))
        elif found := _OUTPUT.fullmatch(line):
            signals, place = driven.get(found[1], {}), int(found[2])
            if place in signals or place >= sizes.get(found[1], 0):
                raise InputError(f"verilog: expected each bit of {found[1]} driven once, got bit {place} otherwise")
            signals[place] = term(found[3], found[4])
        else:
            raise _unread(line)
    for port, signals in driven.items():
        if len(signals) != sizes[port] or waiting:
            raise InputError(f"verilog: expected {sizes[port]} driven bits of {port}, got {len(signals)}")
        if len({circuit.late[s >> 1] for s in signals.values()} - {None}) > 1:
            raise InputError(f"verilog: expected all bits of {port} equally late, got some that are not")
        circuit.outputs[port] = [signals[i] for i in range(sizes[port])]
    return circuit


def _equally_late(circuit: Circuit, own: str, a: int, b: int) -> int | None:
    x, y = circuit.late[a >> 1], circuit.late[b >> 1]
    if x is not None and y is not None and x != y:
        raise InputError(f"verilog: expected the inputs of {own} equally late, got {x} and {y} registers")
    return x if y is None else y


def module_lines(text: str, name: str) -> list[str]:
    """What lies between a module's head and its end, without comments."""
    lines = [line.split("//")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    head = f"module {name} #(parameter L = 1) ("
    if lines.count(head) != 1 or "endmodule" not in lines:
        raise InputError(f"verilog: expected one module {name!r}, got {lines.count(head)}")
    start = lines.index(head) + 1
    return lines[start : lines.index("endmodule", start)]


def _unread(line: str) -> InputError:
    return InputError(f"verilog: expected a line that stillhouse writes, got {line[:80]!r}")
