"""Proves that two sets of clauses give equal scores for every input: what a pass must keep.

Clauses that both have are cancelled. The rest are cancelled where a SAT solver shows that one is constant, or that two have the
same value for every input; what is still left is settled by walking over all values that these few can have together.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.proof import Proof
from stillhouse.logic.sat import Formula

MOST = 20_000  # joint values of the clauses that are left


def prove_equal(before: ClauseSet, after: ClauseSet, *, values: int | None = None) -> Proof:
    """Whether `after` gives the scores of `before`, whatever its input.

    Args:
        before: one set.
        after: another one, over the same bits and outputs.
        values: P, where bits are a thermometer of P values (bit l P + p says that value p is above edge l): only what such a
            thermometer can give counts as input then.

    Raises:
        InputError: no SAT solver.

    Example:
        >>> two = ClauseSet.of([[0, 1], [0, 1]], bits=2, capacity=[1, 1], votes=[[3], [4]])
        >>> one = ClauseSet.of([[0, 1]], bits=2, capacity=[1], votes=[[7]])
        >>> prove_equal(two, one).proved
        True
    """
    Formula.check_solver()
    start = time.perf_counter()
    lemmas = {"cancelled": 0, "constant": 0, "equal values": 0, "joint values": 0}

    def ended(failed: str, row: np.ndarray | None = None) -> Proof:
        return Proof(not failed, failed, lemmas, time.perf_counter() - start, row)

    if (before.bits, before.outputs, before.scale) != (after.bits, after.outputs, after.scale):
        expected, got = (before.bits, before.outputs, before.scale), (after.bits, after.outputs, after.scale)
        return ended(f"expected bits, outputs and scale {expected}, got {got}")
    terms, bias = _difference(before, after)
    lemmas["cancelled"] = before.num_clauses + after.num_clauses - len(terms)
    formula = Formula()
    bits = [formula.variable() for _ in range(before.bits)]
    if values:
        formula.clauses += [[-high, low] for low, high in zip(bits, bits[values:])]
    reached = [_reached(formula, bits, np.frombuffer(own, np.int32), capacity) for own, capacity in terms]
    votes = list(terms.values())
    with formula.solver() as solver:
        groups: dict[int, int] = {}
        for i in range(len(reached)):
            always = [t for t in reached[i] if not solver.solve(assumptions=[-t])]
            if len(always) == len(reached[i]) or not solver.solve(assumptions=[reached[i][len(always)]]):
                bias = bias + len(always) * votes[i]
                lemmas["constant"] += 1
                continue
            twin = next((j for j in groups if _same(solver, reached[i], reached[j])), None)
            if twin is None:
                groups[i] = i
            else:
                votes[twin] = votes[twin] + votes[i]
                lemmas["equal values"] += 1
        left = [i for i in groups if votes[i].any()]
        while solver.solve():
            if lemmas["joint values"] == MOST:
                return ended(f"{len(left)} clauses: expected at most {MOST} values together, got more")
            lemmas["joint values"] += 1
            true = set(solver.get_model())  # literals, negative ones too
            worth = [sum(t in true for t in reached[i]) for i in left]
            if (bias + sum((w * votes[i] for w, i in zip(worth, left)), start=np.zeros_like(bias))).any():
                row = np.array([v in true for v in bits])
                was, now = before.scores(row[None])[0].tolist(), after.scores(row[None])[0].tolist()
                if was == now:
                    raise RuntimeError("the solver's counterexample is none")
                return ended(f"scores: expected {was}, got {now}", row)
            if not left:
                break
            solver.add_clause([-t if t in true else t for i in left for t in reached[i]])
    return ended("")


def _difference(before: ClauseSet, after: ClauseSet) -> tuple[dict[tuple[bytes, int], np.ndarray], np.ndarray]:
    """Votes of `after` less those of `before`, by literals and capacity, where they are not 0; and the same of biases."""
    terms: dict[tuple[bytes, int], np.ndarray] = {}
    for sign, clauses in ((-1, before), (1, after)):
        for j in range(clauses.num_clauses):
            key = (clauses.clause(j).astype(np.int32).tobytes(), int(clauses.capacity[j]))
            own = sign * clauses.votes[j].astype(np.int64)
            terms[key] = terms[key] + own if key in terms else own
    return {key: own for key, own in terms.items() if own.any()}, after.bias - before.bias


def _reached(formula: Formula, bits: list[int], literals: np.ndarray, capacity: int) -> list[int]:
    """Variables for "the clause is worth at least 1", "at least 2", .. up to its capacity."""
    misses = [-bits[f] if f < len(bits) else bits[f - len(bits)] for f in literals.tolist()]
    at_least = formula.counter(misses, capacity)
    return [-at_least[capacity - t] if capacity - t < len(at_least) else formula.true for t in range(1, capacity + 1)]


def _same(solver: Any, a: list[int], b: list[int]) -> bool:
    """Whether two values are equal for every input."""
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return not any(
        solver.solve(assumptions=[p, -q]) or solver.solve(assumptions=[-p, q]) for p, q in zip(longer, shorter)
    ) and not any(solver.solve(assumptions=[p]) for p in longer[len(shorter) :])
