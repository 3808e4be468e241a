"""Proves that an emitted netlist answers as its clauses do, for every input there is.

Three steps, each about the text that was written, read back by `read_verilog`:

1. Values, by algebra over the counter that the text names, or by a SAT solver (`prove_value`).
2. Scores, by algebra. With values as free variables, gates are replaced by polynomials from the outputs down; what is left must
   be the votes, modulo 2^width.
3. The class, by the SAT solver, with scores as free variables and comparisons by subtraction as the definition.

Values are a cut between 1 and 2, scores between 2 and 3: what holds for all values holds for those that occur.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from stillhouse.logic.algebra import Polynomial, expanded
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.cone import cone, literal
from stillhouse.logic.proof import Failure, OnProgress, Proof
from stillhouse.logic.prove_value import input_nodes, prove_value, value_signals
from stillhouse.logic.sat import Formula
from stillhouse.logic.targets.read_verilog import Circuit, read_verilog


def prove(
    netlist_text: str,
    clauses: ClauseSet,
    *,
    name: str = "clauses",
    on_progress: OnProgress = lambda done, total: None,
) -> Proof:
    """Whether the module `name` of a Verilog text gives the values, scores and class of `clauses`, whatever its input.

    Args:
        netlist_text: as `verilog` writes it.
        clauses: what it must be equal to.
        name: of the module.
        on_progress: called with (statements proved, all).

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
    lemmas = {"clauses": 0, "by search": 0, "scores": 0, "classes": 0}
    total, inputs = clauses.num_clauses + clauses.outputs + ("best" in circuit.outputs), input_nodes(circuit)
    try:
        width = _score_width(circuit, clauses)
        for j in range(clauses.num_clauses):
            lemmas["by search"] += not prove_value(circuit, clauses, j, inputs)
            lemmas["clauses"] += 1
            on_progress(lemmas["clauses"], total)
        cut = {circuit.names[n] >> 1 for n in circuit.names if n[0] == "v" and n[1:2].isdigit()}
        for k in range(clauses.outputs):
            _prove_score(circuit, clauses, k, width, cut)
            lemmas["scores"] += 1
            on_progress(lemmas["clauses"] + lemmas["scores"], total)
        if "best" in circuit.outputs:
            _prove_best(circuit, clauses.outputs, width)
            lemmas["classes"] = clauses.outputs
            on_progress(total, total)
    except Failure as failure:
        return Proof(False, str(failure), lemmas, time.perf_counter() - start, failure.bits, failure.scores)
    return Proof(True, "", lemmas, time.perf_counter() - start)


def _score_width(circuit: Circuit, clauses: ClauseSet) -> int:
    total = len(circuit.outputs["score"])
    if circuit.inputs != clauses.bits or total % clauses.outputs or not total:
        raise Failure(
            f"ports: expected {clauses.bits} bits and a multiple of {clauses.outputs}, got {circuit.inputs} and {total}"
        )
    width = total // clauses.outputs
    if clauses.widest() >= 2 ** (width - 1):
        raise Failure(f"scores: expected room for {clauses.widest()}, got {width} bits", _difference(circuit, clauses))
    return width


# --- scores ---


def _prove_score(circuit: Circuit, clauses: ClauseSet, output: int, width: int, cut: set[int]) -> None:
    """One score is the sum of votes times values, plus the bias, modulo 2^width."""
    signals = circuit.outputs["score"][output * width : (output + 1) * width]
    left = expanded(circuit, [(2**i, s) for i, s in enumerate(signals)], 2**width, cut)
    wanted = Polynomial({0: int(clauses.bias[output])})
    for j, vote in enumerate(clauses.votes[:, output].tolist()):
        for i, signal in enumerate(value_signals(circuit, int(clauses.capacity[j]), j)):
            wanted.add(vote << i, signal)
    difference = left.minus(wanted, 2**width)
    if difference:
        what = f"score {output}: expected the sum of votes, got one that differs in {len(difference)} terms"
        raise Failure(what, _difference(circuit, clauses))


# --- the class ---


def _prove_best(circuit: Circuit, outputs: int, width: int) -> None:
    """For each class: where it has the largest score, the first of equal ones, its number comes out."""
    words = [circuit.outputs["score"][k * width : (k + 1) * width] for k in range(outputs)]
    best = circuit.outputs["best"]
    if len(best) != (outputs - 1).bit_length():
        raise Failure(f"class: expected {(outputs - 1).bit_length()} bits, got {len(best)}")
    formula = Formula()
    known = {node: formula.variable() for node in sorted({s >> 1 for word in words for s in word} - {0})}
    variables = cone(circuit, formula, best, known)
    numbers = [[literal(variables, s) for s in word] for word in words]
    less = {(i, j): formula.less(numbers[i], numbers[j]) for j in range(outputs) for i in range(j)}
    with formula.solver() as solver:
        _prove_comparisons(circuit, solver, words, known, variables, less)
        for k in range(outputs):
            first = [less[i, k] for i in range(k)] + [-less[k, j] for j in range(k + 1, outputs)]
            for i, signal in enumerate(best):
                wrong = -literal(variables, signal) if k >> i & 1 else literal(variables, signal)
                if solver.solve(assumptions=[*first, wrong]):
                    true = {v for v in solver.get_model() if v > 0}
                    values = {node: np.array([variable in true]) for node, variable in known.items()}
                    seen = circuit.evaluate(np.zeros((1, circuit.inputs)), values)
                    scores = np.array([seen.number(word, signed=True)[0] for word in words])
                    got = seen.number(best)[0]
                    if got == scores.argmax():
                        raise RuntimeError("class: the solver's counterexample is none")
                    raise Failure(f"class: expected {k} for the scores {scores.tolist()}, got {got}", None, scores)


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
