"""Bit-sliced clauses with numpy alone: every clause takes its next literal at the same time, in whole arrays of words.

Shapes: B rows, F bits, W words (64 rows each), c clauses, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stillhouse.logic.clause_set import ClauseSet

ROWS = 512  # rows at a time: the words of all clauses stay in a near cache


class NumpySliced:
    """A clause set in blocks of rows.

    Counters of misses are planes of words that begin at 2^k - capacity: what is carried out of the last plane has used up the
    capacity. Clauses are sorted by length, so that those still counting are the first.
    """

    def __init__(self, clauses: ClauseSet) -> None:
        self.clauses = clauses
        lengths = np.diff(clauses.starts)
        alive = np.flatnonzero(clauses.capacity > 0)
        self.order = alive[np.argsort(-lengths[alive], kind="stable")]
        lengths = lengths[self.order]
        most = int(lengths.max(initial=0))
        self.depth = max(int(clauses.failures - 1).bit_length(), 0)
        begin = 2**self.depth - clauses.capacity[self.order].astype(np.int64)
        self.begin = -(begin >> np.arange(self.depth)[:, None] & 1).astype(np.int64).view(np.uint64)[..., None]
        # the t-th literal of every clause that has one, as the row of planes that is 1 where it is false
        self.steps = []
        for t in range(most):
            literal = clauses.literals[clauses.starts[self.order[: int((lengths > t).sum())]] + t]
            self.steps.append(np.where(literal < clauses.bits, literal + clauses.bits, literal - clauses.bits))
        self.votes = np.ascontiguousarray(clauses.votes[self.order].T, dtype=np.float64)

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1."""
        found = np.empty((len(bits), self.clauses.outputs), np.int64)
        for first in range(0, len(bits), ROWS):
            # whole numbers below 2^31: exact in float64, in any order
            worth = self.votes @ self._values(bits[first : first + ROWS]).astype(np.float64)
            found[first : first + ROWS] = worth.T.astype(np.int64) + self.clauses.bias
        return found

    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F)."""
        found = np.zeros((len(bits), self.clauses.num_clauses), np.int32)
        for first in range(0, len(bits), ROWS):
            found[first : first + ROWS, self.order] = self._values(bits[first : first + ROWS]).T
        return found

    def _values(self, bits: np.ndarray) -> np.ndarray:
        """(c, B) of at most `ROWS` rows."""
        packed = np.packbits(bits.astype(bool, copy=False).T, axis=1, bitorder="little")
        rows = np.ascontiguousarray(np.pad(packed, [(0, 0), (0, -packed.shape[1] % 8)])).view("<u8")
        planes = np.concatenate([rows, ~rows])
        counter = np.repeat(self.begin, planes.shape[1], axis=2)
        over = np.zeros((len(self.order), planes.shape[1]), np.uint64)
        for chosen in self.steps:
            some = len(chosen)
            carried = planes[chosen]
            for plane in counter:
                here = plane[:some]
                up = here & carried
                here ^= carried
                carried = up
            over[:some] |= carried
        narrow: Any = np.uint8 if self.depth < 8 else np.int32
        worth: np.ndarray = self._spread(~over, len(bits)).astype(narrow) << self.depth
        for place, plane in enumerate(counter):
            worth -= self._spread(plane & ~over, len(bits)).astype(narrow) << place
        return worth

    def _spread(self, words: np.ndarray, rows: int) -> np.ndarray:
        return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little", count=rows)
