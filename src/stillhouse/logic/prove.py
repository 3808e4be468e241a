"""Proves that an emitted netlist answers as its clauses do, for every input there is.

Three steps, each about the text that was written, read back by `read_verilog`:

1. Values, by a SAT solver. A clause's definition is a cardinality constraint (how many literals are false), written as a counter
   that shares nothing with the compiler. For each count of misses, no input gives the netlist's value another bit than the
   definition's.
2. Scores, by algebra. With values as free variables, XOR(a, b) is `a + b - 2ab` and AND(a, b) is `ab`. Replacing gates by these
   from the outputs down, the products of an adder's sum and carry cancel, and what is left must be the votes, modulo 2^width.
   The one product that needs more, that of the two halves of a carry, is 0 by a truth table of at most four signals.
3. The class, by the SAT solver again, with scores as free variables and comparisons by subtraction as the definition.

Values are a cut between 1 and 2, scores between 2 and 3: what holds for all values holds for those that occur.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.gates import TRUE
from stillhouse.logic.targets.read_verilog import Circuit, read_verilog


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether it holds for every input, and how that was settled.

    Attributes:
        proved: yes. No means refuted where there is a counterexample, and not settled where there is none.
        failed: what did not hold; empty where everything did.
        lemmas: how many statements of which kind were proved.
        seconds: all of it.
        counterexample: bits (F) on which the two differ, checked by evaluating both.
        scores: (K) where only the choice of the class fails: scores for which it is wrong.
    """

    proved: bool
    failed: str = ""
    lemmas: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    counterexample: np.ndarray | None = None
    scores: np.ndarray | None = None

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.lemmas.items())
        if self.proved:
            return f"proved for all inputs in {self.seconds:.1f} s: {counts}"
        how = "refuted" if self.counterexample is not None or self.scores is not None else "not settled"
        return f"{how} in {self.seconds:.1f} s: {self.failed}"


class _Failure(Exception):
    def __init__(self, what: str, bits: np.ndarray | None = None, scores: np.ndarray | None = None) -> None:
        super().__init__(what)
        self.bits, self.scores = bits, scores


def prove(netlist_text: str, clauses: ClauseSet, *, name: str = "clauses") -> Proof:
    """Whether the module `name` of a Verilog text gives the values, scores and class of `clauses`, whatever its input.

    Args:
        netlist_text: as `verilog` writes it.
        clauses: what it must be equal to.
        name: of the module.

    Raises:
        InputError: no SAT solver (pip install stillhouse[circuits]), a text that `verilog` did not write.

    Example:
        >>> from stillhouse.logic.targets.verilog import verilog
        >>> two = ClauseSet.of([[0, 4], [1, 2]], bits=3, capacity=[2, 1], votes=[[3, -1], [0, 2]])
        >>> prove(verilog(two), two).proved, prove(verilog(two).replace("&", "^", 1), two).proved
        (True, False)
    """
    Formula.check_solver()
    start = time.perf_counter()
    circuit = read_verilog(netlist_text, name)
    lemmas = {"clauses": 0, "scores": 0, "classes": 0}
    try:
        width = _score_width(circuit, clauses)
        for j in range(clauses.num_clauses):
            _prove_value(circuit, clauses, j)
            lemmas["clauses"] += 1
        cut = {circuit.names[n] >> 1 for n in circuit.names if n[0] == "v" and n[1:2].isdigit()}
        for k in range(clauses.outputs):
            _prove_score(circuit, clauses, k, width, cut)
            lemmas["scores"] += 1
        if "best" in circuit.outputs:
            _prove_best(circuit, clauses.outputs, width)
            lemmas["classes"] = clauses.outputs
    except _Failure as failure:
        return Proof(False, str(failure), lemmas, time.perf_counter() - start, failure.bits, failure.scores)
    return Proof(True, "", lemmas, time.perf_counter() - start)


def _score_width(circuit: Circuit, clauses: ClauseSet) -> int:
    total = len(circuit.outputs["score"])
    if circuit.inputs != clauses.bits or total % clauses.outputs or not total:
        raise _Failure(
            f"ports: expected {clauses.bits} bits and a multiple of {clauses.outputs}, got {circuit.inputs} and {total}"
        )
    width = total // clauses.outputs
    if clauses.widest() >= 2 ** (width - 1):
        raise _Failure(f"scores: expected room for {clauses.widest()}, got {width} bits", _difference(circuit, clauses))
    return width


# --- values ---


def _prove_value(circuit: Circuit, clauses: ClauseSet, number: int) -> None:
    """One clause: for each count of misses, every bit of the value is the definition's."""
    capacity = int(clauses.capacity[number])
    bits = _value_signals(circuit, capacity, number)
    formula = Formula()
    variables = _cone(circuit, formula, bits, {})
    of_input = {
        circuit.gates[node][1]: variable for node, variable in variables.items() if circuit.gates[node][0] == "x"
    }
    places = _reading_order(circuit, bits)  # counting as the netlist does is quicker, and any order counts right
    misses = []
    for literal in sorted(clauses.clause(number).tolist(), key=lambda own: places.get(own % clauses.bits, 0)):
        f = literal % clauses.bits
        if f not in of_input:
            of_input[f] = formula.variable()
        misses.append(-of_input[f] if literal < clauses.bits else of_input[f])
    at_least = formula.counter(misses, capacity)
    with formula.solver() as solver:
        for count in range(min(capacity, len(misses)) + 1):
            exactly = [at_least[count - 1]] if count else []
            exactly += [-at_least[count]] if count < len(at_least) else []
            for i, signal in enumerate(bits):
                wrong = -_literal(variables, signal) if (capacity - count) >> i & 1 else _literal(variables, signal)
                if solver.solve(assumptions=[*exactly, wrong]):
                    true = {v for v in solver.get_model() if v > 0}
                    row = np.zeros(clauses.bits, dtype=bool)
                    row[[f for f, variable in of_input.items() if variable in true]] = True
                    value = circuit.evaluate(row[None]).number(bits)[0]
                    expected = clauses.values(row[None])[0, number]
                    if value == expected:
                        raise RuntimeError(f"clause {number}: the solver's counterexample is none")
                    raise _Failure(f"clause {number}: expected the value {expected}, got {value}", row)


def _value_signals(circuit: Circuit, capacity: int, number: int) -> list[int]:
    """The signals of a clause's value; there must be as many as its capacity has bits, no more."""
    names = [f"v{number}_{i}" for i in range(capacity.bit_length())]
    missing = [name for name in names if name not in circuit.names]
    if missing or f"v{number}_{len(names)}" in circuit.names:
        raise _Failure(
            f"clause {number}: expected a value of {len(names)} bits ({', '.join(names)}), got another width"
        )
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


def _literal(variables: dict[int, int], signal: int) -> int:
    return -variables[signal >> 1] if signal & 1 else variables[signal >> 1]


def _cone(circuit: Circuit, formula: Formula, signals: Sequence[int], known: dict[int, int]) -> dict[int, int]:
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
            variables[node] = gate(_literal(variables, a), _literal(variables, b))
    return variables


# --- scores ---


def _prove_score(circuit: Circuit, clauses: ClauseSet, output: int, width: int, cut: set[int]) -> None:
    """One score is the sum of votes times values, plus the bias, modulo 2^width."""
    signals = circuit.outputs["score"][output * width : (output + 1) * width]
    left = _linear(circuit, [(2**i, s) for i, s in enumerate(signals)], 2**width, cut)
    wanted: dict[int | tuple[int, int], int] = {0: int(clauses.bias[output])}
    for j, vote in enumerate(clauses.votes[:, output].tolist()):
        for i, signal in enumerate(_value_signals(circuit, int(clauses.capacity[j]), j)):
            weight, node = vote << i, signal >> 1
            if signal & 1:
                wanted[0] += weight
                weight = -weight
            if node:
                wanted[node] = wanted.get(node, 0) + weight
    difference = {
        key: left.get(key, 0) - wanted.get(key, 0)
        for key in {*left, *wanted}
        if (left.get(key, 0) - wanted.get(key, 0)) % 2**width
    }
    if difference:
        what = f"score {output}: expected the sum of votes, got one that differs in {len(difference)} terms"
        raise _Failure(what, _difference(circuit, clauses))


def _linear(
    circuit: Circuit, weighted: list[tuple[int, int]], modulus: int, cut: set[int]
) -> dict[int | tuple[int, int], int]:
    """A weighted sum of signals in terms of the nodes of a cut: coefficients of 1 (key 0), of nodes, of products left over."""
    terms: dict[int, int] = {0: 0}
    products: dict[tuple[int, int], int] = {}
    waiting: list[int] = []
    zero: dict[int, bool] = {}

    def add(weight: int, signal: int) -> None:
        node = signal >> 1
        if signal & 1:
            terms[0] += weight
            weight = -weight
        if node:
            if node not in terms:
                terms[node] = 0
                if node not in cut and circuit.gates[node][0] != "x":
                    heapq.heappush(waiting, -node)
            terms[node] += weight

    def add_product(weight: int, a: int, b: int) -> None:
        if a & 1:
            add(weight, b)
            add_product(-weight, a ^ 1, b)
        elif b & 1:
            add(weight, a)
            add_product(-weight, a, b ^ 1)
        elif a == b:
            add(weight, a)
        elif a and b:
            key = (min(a, b), max(a, b))
            products[key] = products.get(key, 0) + weight

    for weight, signal in weighted:
        add(weight, signal)
    while waiting:
        node = -heapq.heappop(waiting)
        weight = terms.pop(node) % modulus
        if not weight:
            continue
        operation, a, b = circuit.gates[node]
        if operation == "^":
            add(weight, a)
            add(weight, b)
            add_product(-2 * weight, a, b)
        elif a == b:  # a register
            add(weight, a)
        elif _never_both(circuit, a ^ 1, b ^ 1, cut, zero, node):  # an OR of two that are never both 1
            add(weight, TRUE)
            add(-weight, a ^ 1)
            add(-weight, b ^ 1)
        else:
            add_product(weight, a, b)
    left: dict[int | tuple[int, int], int] = {k: v for k, v in terms.items() if v % modulus}
    left.update({k: v for k, v in products.items() if v % modulus})
    return left


def _never_both(circuit: Circuit, a: int, b: int, cut: set[int], cache: dict[int, bool], node: int) -> bool:
    """Whether two AND gates can never be 1 together, by the truth table of what they and the gates before them read."""
    if node in cache:
        return cache[node]
    cache[node] = False
    if a & 1 or b & 1 or any(n in cut or circuit.gates[n][0] != "&" for n in (a >> 1, b >> 1)):
        return False
    roots = {s >> 1 for n in (a >> 1, b >> 1) for s in circuit.gates[n][1:]}
    inner = {n for n in roots if n not in cut and circuit.gates[n][0] == "^"}
    for chosen in [{n} for n in inner] + [set()]:
        leaves = sorted((roots - chosen) | {s >> 1 for n in chosen for s in circuit.gates[n][1:]} - {0})
        if len(leaves) <= 4 and not chosen & set(leaves):
            table: dict[int, int] = {0: 0}
            for i, leaf in enumerate(leaves):
                table[leaf] = sum(1 << row for row in range(16) if row >> i & 1)
            for n in sorted({*chosen, a >> 1, b >> 1}):
                operation, x, y = circuit.gates[n]
                p, q = table[x >> 1] ^ (0xFFFF * (x & 1)), table[y >> 1] ^ (0xFFFF * (y & 1))
                table[n] = p & q if operation == "&" else p ^ q
            if not table[a >> 1] & table[b >> 1]:
                cache[node] = True
                break
    return cache[node]


# --- the class ---


def _prove_best(circuit: Circuit, outputs: int, width: int) -> None:
    """For each class: where it has the largest score, the first of equal ones, its number comes out."""
    words = [circuit.outputs["score"][k * width : (k + 1) * width] for k in range(outputs)]
    best = circuit.outputs["best"]
    if len(best) != (outputs - 1).bit_length():
        raise _Failure(f"class: expected {(outputs - 1).bit_length()} bits, got {len(best)}")
    formula = Formula()
    known = {node: formula.variable() for node in sorted({s >> 1 for word in words for s in word} - {0})}
    variables = _cone(circuit, formula, best, known)
    numbers = [[_literal(variables, s) for s in word] for word in words]
    less = {(i, j): formula.less(numbers[i], numbers[j]) for j in range(outputs) for i in range(j)}
    with formula.solver() as solver:
        _prove_comparisons(circuit, solver, words, known, variables, less)
        for k in range(outputs):
            first = [less[i, k] for i in range(k)] + [-less[k, j] for j in range(k + 1, outputs)]
            for i, signal in enumerate(best):
                wrong = -_literal(variables, signal) if k >> i & 1 else _literal(variables, signal)
                if solver.solve(assumptions=[*first, wrong]):
                    true = {v for v in solver.get_model() if v > 0}
                    values = {node: np.array([variable in true]) for node, variable in known.items()}
                    seen = circuit.evaluate(np.zeros((1, circuit.inputs)), values)
                    scores = np.array([seen.number(word, signed=True)[0] for word in words])
                    got = seen.number(best)[0]
                    if got == scores.argmax():
                        raise RuntimeError("class: the solver's counterexample is none")
                    raise _Failure(f"class: expected {k} for the scores {scores.tolist()}, got {got}", None, scores)


def _prove_comparisons(
    circuit: Circuit,
    solver: Any,
    words: list[list[int]],
    known: dict[int, int],
    variables: dict[int, int],
    less: dict[tuple[int, int], int],
) -> None:
    """Steps for the solver: gates that seem to be a comparison of the definition are proved to be it, and then known to be."""
    random = np.random.default_rng(0)
    forced = {node: random.random(2048) < 0.5 for node in known}
    for word in words:  # some scores that are equal from the top, as comparisons must tell apart
        for i, signal in enumerate(word):
            if signal >> 1:
                forced[signal >> 1] &= (np.arange(2048) % 2 == 0) | (random.integers(0, len(word), 2048) >= i)
    seen = circuit.evaluate(np.zeros((2048, circuit.inputs), dtype=bool), forced)
    numbers = [seen.number(word, signed=True) for word in words]
    like: dict[bytes, list[int]] = {}
    for node in variables:
        if node and node not in known:
            like.setdefault(seen.planes[node].tobytes(), []).append(variables[node])
            like.setdefault((~seen.planes[node]).tobytes(), []).append(-variables[node])
    for (i, j), variable in less.items():
        wanted = np.packbits(numbers[i] < numbers[j], bitorder="little").tobytes()
        for gate in like.get(wanted, [])[:4]:
            if not solver.solve(assumptions=[gate, -variable]) and not solver.solve(assumptions=[-gate, variable]):
                solver.add_clause([-gate, variable])
                solver.add_clause([gate, -variable])
                break


# --- a difference found by trying ---


def _difference(circuit: Circuit, clauses: ClauseSet, tries: int = 4096) -> np.ndarray | None:
    """Bits on which scores differ, where trying finds any: random ones, and ones near each clause."""
    random = np.random.default_rng(0)
    width = len(circuit.outputs["score"]) // clauses.outputs
    words = [circuit.outputs["score"][k * width : (k + 1) * width] for k in range(clauses.outputs)]
    for start in range(0, tries, 512):
        rows = random.random((512, clauses.bits)) < random.choice([0.1, 0.5, 0.9], (512, 1))
        for row, j in zip(rows, range(start, start + 512)):
            if clauses.num_clauses and j % 8:
                literals = clauses.clause((j * 7 // 8) % clauses.num_clauses)
                kept = random.permutation(literals)[random.integers(0, int(clauses.failures) + 1) * (j % 3 == 0) :]
                row[kept % clauses.bits] = kept < clauses.bits
        seen = circuit.evaluate(rows)
        got = np.stack([seen.number(word, signed=True) for word in words], axis=1)
        wrong = np.flatnonzero((got != clauses.scores(rows)).any(1))
        if len(wrong):
            return np.asarray(rows[wrong[0]])
    return None
