"""Verilog of what lies between two layers of clauses: votes, linear path, LayerNorm and a sign, in 64-bit words.

Adders of so many constants (a linear path has one a pixel and number) would be millions of gates; here they are words, one small
statement a line, which `read_words` reads back for a proof. The root is the schoolbook one, two bits of its square a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Join


def join_module(join: Join, layer: ClauseSet, name: str) -> str:
    """The text of a module: bits `x` before a layer and the values of its clauses to the bits after it.

    Args:
        join: behind the layer.
        layer: whose values come in, each as many bits as its capacity has, lowest first.
        name: of the module.

    Raises:
        InputError: squares that 62 bits do not hold.
    """
    inputs, outputs = layer.bits, layer.outputs
    places = value_places(layer)
    used = [f for f in range(inputs) if join.path[:, f].any()]
    lines = [
        f"// {outputs} numbers: votes and a linear path over {inputs} bits, LayerNorm, and the sign of what comes out",
        f"module {name} #(parameter L = 1) (",
        f"  input wire [{inputs}*L-1:0] x,",
        f"  input wire [{places[-1]}*L-1:0] value,",
        f"  output reg [{outputs}*L-1:0] after",
        ");",
        "integer l;",
        *(f"reg x{f};" for f in used),
        *(f"reg signed [63:0] v{j};" for j in range(layer.num_clauses)),
        *(f"reg signed [63:0] {letter}{k};" for letter in "pu" for k in range(outputs)),
        *(f"reg signed [63:0] {own};" for own in ("q", "r", "m", "t", "y")),
        "always @* for (l = 0; l < L; l = l + 1) begin",
        *(f"x{f} = x[{f}*L + l];" for f in used),
        *_values(places),
        *_sums(join, layer, used),
        f"q = 64'sd{join.epsilon};",
        *(f"q = q + u{k} * u{k};" for k in range(outputs)),
        *_root(root_steps(join, layer)),
        *_signs(join),
        "end",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def value_places(layer: ClauseSet) -> list[int]:
    """Where the value of each clause starts among the bits of all; last, how many there are."""
    places = [0]
    for capacity in layer.capacity.tolist():
        places.append(places[-1] + int(capacity).bit_length())
    return places


def largest_number(join: Join, layer: ClauseSet) -> int:
    """What no number before LayerNorm exceeds, without its sign."""
    sums = int(abs(join.path.astype(object)).sum(1).max(initial=0))
    return layer.widest() + (sums >> join.shift) + 1


def root_steps(join: Join, layer: ClauseSet) -> int:
    """Bits of the root.

    Raises:
        InputError: a square of more than 62 bits.
    """
    steps = ((layer.outputs * largest_number(join, layer) ** 2 + join.epsilon).bit_length() + 1) // 2
    if steps > 31:
        raise InputError(f"verilog: expected squares of at most 62 bits between layers, got up to {2 * steps}")
    return steps


def _constant(number: int) -> str:
    return f"{'-' if number < 0 else ''}64'sd{abs(number)}"


def _plus(number: int) -> str:
    return f"{'-' if number < 0 else '+'} 64'sd{abs(number)}"


def _values(places: list[int]) -> Iterator[str]:
    for j, (start, stop) in enumerate(pairwise(places)):
        bits = "".join(f", value[{i}*L + l]" for i in reversed(range(start, stop)))
        yield f"v{j} = {{{64 - (stop - start)}'d0{bits}}};"


def _sums(join: Join, layer: ClauseSet, used: list[int]) -> Iterator[str]:
    """Path, shifted, plus votes; the numbers of the first layer are 2 bit - 1."""
    for k, row in enumerate(join.path.tolist()):
        yield f"p{k} = {_constant(-sum(row))};"
    for f in used:  # a bit that is 0 adds nothing: a simulator skips it
        yield f"if (x{f}) begin"
        for k, weight in enumerate(join.path[:, f].tolist()):
            if weight:
                yield f"p{k} = p{k} {_plus(2 * weight)};"
        yield "end"
    for k in range(layer.outputs):
        yield f"u{k} = p{k} >>> {join.shift};"
        yield f"u{k} = u{k} {_plus(int(layer.bias[k]))};"
        for j, vote in enumerate(layer.votes[:, k].tolist()):
            if vote:
                yield f"u{k} = u{k} {_plus(vote)} * v{j};"


def _root(steps: int) -> Iterator[str]:
    """r = floor(sqrt(q)); m is what q has above r squared."""
    yield "m = q;"
    yield "r = 64'sd0;"
    for i in reversed(range(steps)):
        yield f"t = (r <<< {i + 1}) + 64'sd{4**i};"
        yield "if (m >= t) begin"
        yield "m = m - t;"
        yield f"r = r + 64'sd{2**i};"
        yield "end"


def _signs(join: Join) -> Iterator[str]:
    for k, (gain, offset) in enumerate(zip(join.gain.tolist(), join.offset.tolist())):
        yield "y = 64'sd0;"
        yield f"y = y {_plus(gain)} * u{k};"
        yield f"y = y {_plus(offset)} * r;"
        yield f"after[{k}*L + l] = y > 64'sd0;"
