"""The order in which a kernel walks a clause set; the set itself stays as it is.

A literal is read from a row of bits, one bit an image: rows 0 .. F - 1 hold the bits, F .. 2F - 1 their negations, row 2F zeros.
Eight literals are added at a time. Counting the *misses* of a wanted bit needs its negation; full adders are self-dual, so eight
wanted bits can be added from the bits themselves. Only the few wanted bits beyond a multiple of eight need rows of negations, so
that a clause reads half the memory, which then fits into the nearest cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet

UNIT = 8  # literals added at a time
DEPTHS = (0, 3, 4, 6, 8)  # bits of a counter: kernels are compiled for these


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Clauses that can answer, in groups of equal begin and length, so that a processor foresees its branches.

    Attributes:
        order: (c) their numbers in the set; those of capacity 0 are left out.
        rows: (n) int32, a multiple of `UNIT` for every clause; first those whose bits are wanted.
        starts: (c + 1) int64 into them.
        wanted: (c) int64 how many of a clause's rows hold wanted bits.
        begin: (c) int64 where a counter begins: at 2^depth it has used up the capacity.
        depth: bits of a counter, 0 for crisp clauses.
    """

    order: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    wanted: np.ndarray
    begin: np.ndarray
    depth: int

    @classmethod
    def of(cls, clauses: ClauseSet) -> Plan:
        """The plan of a set.

        Raises:
            InputError: a capacity above 256.
        """
        if clauses.failures > 2 ** DEPTHS[-1]:
            raise InputError(
                f"capacity: expected at most {2 ** DEPTHS[-1]} for counters of bits, got {clauses.failures}"
            )
        most = clauses.failures
        depth = next(d for d in DEPTHS if most <= 2**d)
        alive = np.flatnonzero(clauses.capacity > 0)
        walks = [(_crisp if depth == 0 else _counted)(clauses.clause(j), clauses.bits) for j in alive]
        begin = 2**depth - clauses.capacity[alive].astype(np.int64)
        order = sorted(range(len(alive)), key=lambda j: (begin[j], walks[j][1], len(walks[j][0])))
        rows = [walks[j][0] for j in order]
        return cls(
            order=alive[order],
            rows=np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32),
            starts=np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
            wanted=np.array([walks[j][1] for j in order], dtype=np.int64),
            begin=begin[order],
            depth=depth,
        )


def _counted(literals: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Rows whose ones are to be added, and how many of the first are of wanted bits, whose zeros are."""
    positive, negated = literals[literals < bits], literals[literals >= bits] - bits
    whole = len(positive) // UNIT * UNIT
    rest = np.concatenate([positive[whole:] + bits, negated])
    padding = np.full(-len(rest) % UNIT, 2 * bits)
    return np.concatenate([positive[:whole], rest, padding]), whole


def _crisp(literals: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Rows of which any one silences the clause: wanted bits last."""
    rows = np.concatenate([literals[literals >= bits] - bits, literals[literals < bits] + bits])
    return np.concatenate([rows, np.full(-len(rows) % UNIT, 2 * bits)]), 0
