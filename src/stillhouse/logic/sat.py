"""Statements in conjunctive normal form, and a solver for them (python-sat)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from stillhouse.core.checks import InputError

SOLVER = "glucose4"  # the fastest of python-sat's on clauses of 32 literals and LF 8


@dataclass(slots=True)
class Formula:
    """Variables are 1, 2, ..; a negative number is a negation. Variable `true` is always true.

    Example:
        >>> formula = Formula()
        >>> a, b, c = (formula.variable() for _ in range(3))
        >>> at_least = formula.counter([a, b, c], 2)
        >>> with formula.solver() as solver:
        ...     solver.solve(assumptions=[a, b, -at_least[1]])
        False
    """

    clauses: list[list[int]] = field(default_factory=lambda: [[1]])
    top: int = 1

    @property
    def true(self) -> int:
        """The variable that is always true."""
        return 1

    def variable(self) -> int:
        """A new one."""
        self.top += 1
        return self.top

    def conj(self, a: int, b: int) -> int:
        """A variable for a and b."""
        c = self.variable()
        self.clauses += [[-c, a], [-c, b], [c, -a, -b]]
        return c

    def xor(self, a: int, b: int) -> int:
        """A variable for a or b but not both."""
        c = self.variable()
        self.clauses += [[-c, a, b], [-c, -a, -b], [c, -a, b], [c, a, -b]]
        return c

    def counter(self, literals: Sequence[int], most: int) -> list[int]:
        """Variables for "at least 1 of these", "at least 2", .. up to `most` or all: a cardinality constraint, both ways.

        Source: Sinz 2005, "Towards an optimal CNF encoding of Boolean cardinality constraints" (the sequential counter).
        """
        before: list[int] = []
        for literal in literals:
            after = []
            for t in range(min(len(before) + 1, most)):
                had = before[t] if t < len(before) else -self.true  # at least t + 1 already
                almost = before[t - 1] if t else self.true  # at least t
                now = self.variable()
                self.clauses += [[-now, had, literal], [-now, had, almost], [now, -had], [now, -literal, -almost]]
                after.append(now)
            before = after
        return before

    def less(self, a: Sequence[int], b: Sequence[int]) -> int:
        """A variable for a < b, in two's complement, lowest bit first: what a - b borrows."""
        borrow = -self.true
        for i, (x, y) in enumerate(zip(a, b)):
            p, q = (-x, y) if i < len(a) - 1 else (x, -y)
            now = self.variable()
            for m, n in ((p, q), (p, borrow), (q, borrow)):
                self.clauses += [[now, -m, -n], [-now, m, n]]
            borrow = now
        return borrow

    def solver(self) -> Any:
        """A solver that has the clauses; a context manager."""
        self.check_solver()
        from pysat.solvers import Solver

        return Solver(name=SOLVER, bootstrap_with=self.clauses)

    @staticmethod
    def check_solver() -> None:
        """Raise `InputError` where python-sat is missing."""
        if find_spec("pysat") is None:
            raise InputError("proof: expected a SAT solver (python-sat), got none; pip install stillhouse[circuits]")
