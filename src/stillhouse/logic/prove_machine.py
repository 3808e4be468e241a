"""Proves a whole machine: of one layer as it is; of two, the values of the first, what lies between, the second, and the wires.

Each module is proved for all of its inputs, and the wires say that the inputs of one are the outputs of another; so the circuit
answers as the machine does, for every input.
"""

from __future__ import annotations

import time
from collections import Counter

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Join, Machine
from stillhouse.logic.proof import Failure, OnProgress, Proof
from stillhouse.logic.prove import prove
from stillhouse.logic.prove_value import input_nodes, prove_value, value_signals
from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.read_verilog import module_lines, ports, read_verilog
from stillhouse.logic.targets.read_words import Word, atom, constant, read_words, root, shifted, square


def prove_machine(
    text: str, machine: Machine, *, name: str = "clauses", on_progress: OnProgress = lambda done, total: None
) -> Proof:
    """Whether the module `name` of a text gives the scores and the class of a machine of one or two layers.

    Args:
        text: as `write_verilog` writes it.
        machine: what it must be equal to.
        name: of the module.
        on_progress: called with (statements proved, all).

    Raises:
        InputError: no SAT solver, a text that `write_verilog` did not write, a machine of more layers.
    """
    if not machine.joins:
        return prove(text, machine.layers[0], name=name, on_progress=on_progress)
    if len(machine.joins) > 1:
        raise InputError(
            f"proof: expected a machine of at most 2 layers, got {len(machine.layers)}; prove each layer alone"
        )
    Formula.check_solver()
    start = time.perf_counter()
    (first, last), join = machine.layers, machine.joins[0]
    total = first.num_clauses + last.num_clauses + last.outputs + join.path.shape[0] + 2
    lemmas: Counter[str] = Counter()

    def advanced(done: int, of: int) -> None:
        on_progress(sum(lemmas[kind] for kind in ("clauses", "numbers", "wirings")) + done, total)

    try:
        _prove_wires(text, machine, name)
        lemmas["wirings"] += 1
        lemmas += _prove_values(text, first, f"{name}_0", advanced)
        lemmas["numbers"] += prove_join(text, join, first, f"{name}_between")
        advanced(0, 0)
    except Failure as failure:
        return Proof(False, str(failure), dict(lemmas), time.perf_counter() - start, failure.bits, failure.scores)
    second = prove(text, last, name=f"{name}_1", on_progress=advanced)
    lemmas.update(second.lemmas)
    seconds = time.perf_counter() - start
    if not second.proved:
        what = f"second layer: {second.failed}"
        return Proof(False, what, dict(lemmas), seconds, second.counterexample, second.scores)
    return Proof(True, "", dict(lemmas), seconds)


def prove_values(
    text: str, clauses: ClauseSet, *, name: str = "clauses", on_progress: OnProgress = lambda done, total: None
) -> Proof:
    """Whether the module `name` of a text gives the values of all clauses, as `values_module` writes it; see `prove`."""
    Formula.check_solver()
    start = time.perf_counter()
    try:
        lemmas = _prove_values(text, clauses, name, on_progress)
    except Failure as failure:
        return Proof(False, str(failure), {}, time.perf_counter() - start, failure.bits, failure.scores)
    return Proof(True, "", dict(lemmas), time.perf_counter() - start)


def _prove_wires(text: str, machine: Machine, name: str) -> None:
    """Each module once, each of its ports where it belongs."""
    values, between, last = (ports(text, f"{name}_{part}") for part in ("0", "between", "1"))
    bits, numbers, value = machine.layers[0].bits, machine.layers[1].bits, values.get("value")
    if values["x"] != bits or between != {"x": bits, "value": value, "after": numbers} or last["x"] != numbers:
        raise Failure(f"wires: expected {bits} bits in, {numbers} between, got {values}, {between}, {last}")
    best = [f"output wire [{last['best']}*L-1:0] best"] if "best" in last else []
    wanted = [
        f"input wire [{bits}*L-1:0] x,",
        f"output wire [{last['score']}*L-1:0] score{',' if best else ''}",
        *best,
        ");",
        f"wire [{value}*L-1:0] value;",
        f"wire [{numbers}*L-1:0] after;",
        f"{name}_0 #(.L(L)) first (.x(x), .value(value));",
        f"{name}_between #(.L(L)) between (.x(x), .value(value), .after(after));",
        f"{name}_1 #(.L(L)) last (.x(after), .score(score){', .best(best)' if best else ''});",
    ]
    got = module_lines(text, name)
    if got != wanted:
        other = [line for line in got if line not in wanted] or ["other places of the same lines"]
        raise Failure(f"wires: expected bits to values, numbers and scores, got {other[0][:100]!r}")


def _prove_values(text: str, layer: ClauseSet, name: str, on_progress: OnProgress) -> Counter[str]:
    """The values of a layer, all of them in their places."""
    circuit = read_verilog(text, name)
    if circuit.inputs != layer.bits or set(circuit.outputs) != {"value"}:
        raise Failure(f"{name}: expected {layer.bits} bits to values, got {circuit.inputs} to {list(circuit.outputs)}")
    wanted = [s for j in range(layer.num_clauses) for s in value_signals(circuit, int(layer.capacity[j]), j)]
    if circuit.outputs["value"] != wanted:
        raise Failure(f"{name}: expected the values in the order of the clauses, got others")
    lemmas, inputs = Counter[str](), input_nodes(circuit)
    for j in range(layer.num_clauses):
        lemmas["by search"] += not prove_value(circuit, layer, j, inputs)
        lemmas["clauses"] += 1
        on_progress(lemmas["clauses"], layer.num_clauses)
    return lemmas


def prove_join(text: str, join: Join, layer: ClauseSet, name: str) -> int:
    """Whether a module of words gives the bits of `join.apply`; how many there are.

    Both are written as polynomials in the bits that come in, with floors, squares and a root as further unknowns: equal
    polynomials are equal numbers.

    Raises:
        Failure: some bit is the sign of another number.
        InputError: a text that `join_module` did not write, words that may leave 64 bits.
    """
    found = read_words(text, name)
    places = [0]
    for capacity in layer.capacity.tolist():
        places.append(places[-1] + int(capacity).bit_length())
    sizes = {"x": layer.bits, "value": places[-1], "after": layer.outputs}
    if found.sizes != sizes or len(found.signs) != layer.outputs:
        raise Failure(f"{name}: expected ports of {sizes}, all driven, got {found.sizes} and {len(found.signs)} bits")
    u = [_number(join, layer, places, k) for k in range(layer.outputs)]
    total = constant(join.epsilon)
    for own in u:
        total = total.plus(1, square(own))
    r = root(total)
    for k, own in enumerate(u):
        y = constant(0).plus(int(join.gain[k]), own).plus(int(join.offset[k]), r)
        if y.terms != found.signs[k].terms:
            raise Failure(f"{name}: bit {k}: expected the sign of gain u + offset r, got that of another number")
    return len(u)


def _number(join: Join, layer: ClauseSet, places: list[int], output: int) -> Word:
    """`scores + floor(path @ numbers / 2^shift)` of one output, the numbers 2 bit - 1."""
    path = constant(0)
    for f, weight in enumerate(join.path[output].tolist()):
        path = path.plus(weight, constant(-1).plus(2, atom(("x", f), 0, 1))) if weight else path
    score = constant(int(layer.bias[output]))
    for j, vote in enumerate(layer.votes[:, output].tolist()):
        for i, bit in enumerate(range(places[j], places[j + 1])):
            score = score.plus(vote << i, atom(("value", bit), 0, 1)) if vote else score
    return score.plus(1, shifted(path, join.shift))
