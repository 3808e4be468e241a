"""The gates that signals depend on, as clauses of a formula."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.read_verilog import Circuit


def literal(variables: dict[int, int], signal: int) -> int:
    """The literal of a signal."""
    return -variables[signal >> 1] if signal & 1 else variables[signal >> 1]


def cone(circuit: Circuit, formula: Formula, signals: Sequence[int], known: dict[int, int]) -> dict[int, int]:
    """Clauses of all gates that signals depend on, down to inputs and `known` nodes; the variable of each node."""
    variables = {0: -formula.true, **known}
    waiting, found = [s >> 1 for s in signals], set()
    while waiting:
        node = waiting.pop()
        if node in variables or node in found:
            continue
        found.add(node)
        operation, a, b = circuit.gates[node]
        if operation != "x":
            waiting += [a >> 1, b >> 1]
    for node in sorted(found):
        operation, a, b = circuit.gates[node]
        if operation == "x":
            variables[node] = formula.variable()
        else:
            gate = formula.conj if operation == "&" else formula.xor
            variables[node] = gate(literal(variables, a), literal(variables, b))
    return variables
