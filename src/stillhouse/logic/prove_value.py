"""Proves the value of one clause: `max(0, capacity - misses)`, for every input.

Two ways, each of which is enough:

1. By algebra, where the text names its counter: bits `c<clause>_<i>`, and carries out of them `w<clause>_<n>`. The names are a
   hint only, and two statements are proved about the signals that have them. First, by replacing gates by polynomials,
   `sum 2^i c_i + 2^k sum w_n = 2^k - capacity + misses`. So a carry is 1 just where the capacity is used up, and where none is,
   `c` is the number on the right. Second, with `c` and `w` as free variables: the value is 0 where a carry is 1, and
   `2^k - c` where none is.
2. By a SAT solver, for whatever else: slower by a hundred times at a hundred literals, and it finds an input that shows a
   difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, takewhile

import numpy as np

from stillhouse.logic.algebra import Polynomial, expanded
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.cone import cone, literal
from stillhouse.logic.proof import Failure
from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.read_verilog import Circuit


def prove_value(circuit: Circuit, clauses: ClauseSet, number: int, inputs: dict[int, int]) -> bool:
    """One clause; whether algebra was enough.

    Args:
        circuit: read from the text.
        clauses: what it must be equal to.
        number: of the clause.
        inputs: the node of each input bit, see `input_nodes`.

    Raises:
        Failure: the value is another one, with an input that shows it.
    """
    bits = value_signals(circuit, int(clauses.capacity[number]), number)
    if _counts(circuit, clauses, number, inputs) and _subtracts(circuit, bits, int(clauses.capacity[number]), number):
        return True
    _by_search(circuit, clauses, number)
    return False


def input_nodes(circuit: Circuit) -> dict[int, int]:
    """The node of each input bit; bits that have two are left out."""
    found: dict[int, int] = {}
    twice = set()
    for node, (operation, f, _) in enumerate(circuit.gates):
        if operation == "x":
            if f in found:
                twice.add(f)
            found[f] = node
    return {f: node for f, node in found.items() if f not in twice}


def _counter(circuit: Circuit, number: int) -> tuple[list[int], list[int]]:
    """The signals that are named as a clause's counter, and as the carries out of it."""
    names = circuit.names
    own, over = (
        [names[name] for name in takewhile(names.__contains__, (f"{letter}{number}_{i}" for i in count()))]
        for letter in "cw"
    )
    return own, over


def _counts(circuit: Circuit, clauses: ClauseSet, number: int, inputs: dict[int, int]) -> bool:
    """Whether counter and carries are the head start and the misses: equal as polynomials, and both below the modulus."""
    own, over = _counter(circuit, number)
    full, literals = 2 ** len(own), clauses.clause(number).tolist()
    if full < clauses.capacity[number] or any(f % clauses.bits not in inputs for f in literals):
        return False
    modulus = 2 ** max(full * (1 + len(over)), full + len(literals)).bit_length()
    wanted = Polynomial({0: full - int(clauses.capacity[number])})
    for f in literals:
        wanted.add(1, 2 * inputs[f] + 1 if f < clauses.bits else 2 * inputs[f - clauses.bits])
    weighted = [*((2**i, s) for i, s in enumerate(own)), *((full, s) for s in over)]
    return not expanded(circuit, weighted, modulus, frozenset()).minus(wanted, modulus)


def _subtracts(circuit: Circuit, bits: Sequence[int], capacity: int, number: int) -> bool:
    """Whether, with counter and carries free, the value is 0 where a carry is 1 and else `2^k - counter`."""
    own, over = _counter(circuit, number)
    formula = Formula()
    known = {node: formula.variable() for node in sorted({s >> 1 for s in (*own, *over)} - {0})}
    variables = cone(circuit, formula, bits, known)
    value, carries, counter = ([literal(variables, s) for s in signals] for signals in (bits, over, own))
    with formula.solver() as solver:
        if any(solver.solve(assumptions=[carry, bit]) for carry in carries for bit in value):
            return False
        none = [-carry for carry in carries]
        for t in range(2 ** len(own) - capacity, 2 ** len(own)):
            given = [*none, *(v if t >> i & 1 else -v for i, v in enumerate(counter))]
            left = 2 ** len(own) - t
            if any(solver.solve(assumptions=[*given, -v if left >> i & 1 else v]) for i, v in enumerate(value)):
                return False
    return True


def _by_search(circuit: Circuit, clauses: ClauseSet, number: int) -> None:
    """For each count of misses, no input gives the netlist's value another bit than the definition's.

    The definition is a cardinality constraint that shares nothing with the compiler; a SAT solver looks for the input.
    """
    capacity = int(clauses.capacity[number])
    bits = value_signals(circuit, capacity, number)
    formula = Formula()
    variables = cone(circuit, formula, bits, {})
    of_input = {
        circuit.gates[node][1]: variable for node, variable in variables.items() if circuit.gates[node][0] == "x"
    }
    places = _reading_order(circuit, bits)  # counting as the netlist does is quicker, and any order counts right
    misses = []
    for own in sorted(clauses.clause(number).tolist(), key=lambda own: places.get(own % clauses.bits, 0)):
        f = own % clauses.bits
        if f not in of_input:
            of_input[f] = formula.variable()
        misses.append(-of_input[f] if own < clauses.bits else of_input[f])
    at_least = formula.counter(misses, capacity)
    with formula.solver() as solver:
        for count in range(min(capacity, len(misses)) + 1):
            exactly = [at_least[count - 1]] if count else []
            exactly += [-at_least[count]] if count < len(at_least) else []
            for i, signal in enumerate(bits):
                wrong = -literal(variables, signal) if (capacity - count) >> i & 1 else literal(variables, signal)
                if solver.solve(assumptions=[*exactly, wrong]):
                    true = {v for v in solver.get_model() if v > 0}
                    row = np.zeros(clauses.bits, dtype=bool)
                    row[[f for f, variable in of_input.items() if variable in true]] = True
                    value = circuit.evaluate(row[None]).number(bits)[0]
                    expected = clauses.values(row[None])[0, number]
                    if value == expected:
                        raise RuntimeError(f"clause {number}: the solver's counterexample is none")
                    raise Failure(f"clause {number}: expected the value {expected}, got {value}", row)


def value_signals(circuit: Circuit, capacity: int, number: int) -> list[int]:
    """The signals of a clause's value; there must be as many as its capacity has bits, no more."""
    names = [f"v{number}_{i}" for i in range(capacity.bit_length())]
    missing = [name for name in names if name not in circuit.names]
    if missing or f"v{number}_{len(names)}" in circuit.names:
        raise Failure(f"clause {number}: expected a value of {len(names)} bits ({', '.join(names)}), got another width")
    return [circuit.names[name] for name in names]


def _reading_order(circuit: Circuit, signals: Sequence[int]) -> dict[int, int]:
    """The place of each input bit in a walk down from some signals, the later gate first."""
    places: dict[int, int] = {}
    waiting, seen = sorted(s >> 1 for s in signals), set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        operation, a, b = circuit.gates[node]
        if operation == "x":
            places[a] = len(places)
        elif operation != "0":
            waiting += sorted((a >> 1, b >> 1))
    return places
