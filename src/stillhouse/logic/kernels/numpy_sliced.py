"""Bit-sliced clauses with numpy alone: some clauses at a time take their next eight literals together, in arrays of words.

Shapes: B rows, F bits, W words (64 rows each), c clauses of a group, K outputs, k bits of a counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernels.plan import UNIT

ROWS = 1024  # rows at a time
WORDS = 4096  # of a plane of some clauses: the dozen arrays that an addition takes stay in a near cache
FEW = 1 / 16  # up to this share of values above 0, votes are added value by value


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Clauses of about the same length.

    Attributes:
        order: (c) their numbers.
        steps: (n, 8, c) rows of planes which are 1 where a literal is false; the row of zeros where there is none.
        begin: (k, c, 1) planes in which counters begin.
    """

    order: np.ndarray
    steps: np.ndarray
    begin: np.ndarray


class NumpySliced:
    """A clause set in blocks of rows.

    Counters of misses are planes of words that begin at 2^k - capacity: what is carried out of the last plane has used up the
    capacity. A crisp clause has no counter: any literal that is false ends it.
    """

    def __init__(self, clauses: ClauseSet) -> None:
        self.clauses = clauses
        self.depth = 0 if clauses.failures <= 1 else max(int(clauses.failures - 1).bit_length(), 3)
        lengths = np.diff(clauses.starts)
        alive = np.flatnonzero(clauses.capacity > 0)
        self.order = alive[np.argsort(lengths[alive], kind="stable")]
        self._groups: dict[int, list[Group]] = {}
        self.votes = clauses.votes.astype(np.float64)

    def groups(self, words: int) -> list[Group]:
        """All clauses, so many at a time that planes of so many words a clause stay small; fewer words, fewer calls."""
        size = WORDS // words
        if size not in self._groups:
            self._groups[size] = [self._group(self.order[i : i + size]) for i in range(0, len(self.order), size)]
        return self._groups[size]

    def _group(self, order: np.ndarray) -> Group:
        clauses = self.clauses
        longest = int(np.diff(clauses.starts)[order].max(initial=0))
        rows = np.full((len(order), -(-longest // UNIT) * UNIT), 2 * clauses.bits)
        for place, j in enumerate(order):
            literals = clauses.clause(j).astype(np.int64)
            rows[place, : len(literals)] = (literals + clauses.bits) % (2 * clauses.bits)
        begin = 2**self.depth - clauses.capacity[order].astype(np.int64)
        planes = -(begin >> np.arange(self.depth)[:, None] & 1).astype(np.int64).view(np.uint64)
        return Group(order, np.ascontiguousarray(rows.T.reshape(-1, UNIT, len(order))), planes[..., None])

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1."""
        found = np.empty((len(bits), self.clauses.outputs), np.int64)
        for first in range(0, len(bits), ROWS):
            some = bits[first : first + ROWS]
            sums = np.zeros((self.clauses.outputs, len(some)))  # whole numbers below 2^31: exact in float64, in any order
            for group, counter, over in self._counted(some):
                self._vote(sums, self.votes[group.order], counter, ~over)
            found[first : first + len(some)] = sums.T.astype(np.int64) + self.clauses.bias
        return found

    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F)."""
        found = np.zeros((len(bits), self.clauses.num_clauses), np.int32)
        for first in range(0, len(bits), ROWS):
            some = bits[first : first + ROWS]
            for group, counter, over in self._counted(some):
                found[first : first + len(some), group.order] = _worth(counter, ~over)[:, : len(some)].T
        return found

    def _counted(self, bits: np.ndarray) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
        """Of at most `ROWS` rows: every group, its counters (k, c, W), and where the capacity is used up (c, W)."""
        packed = np.packbits(bits.astype(bool, copy=False).T, axis=1, bitorder="little")
        rows = np.ascontiguousarray(np.pad(packed, [(0, 0), (0, -packed.shape[1] % 8)])).view("<u8").astype(np.uint64)
        planes = np.concatenate([rows, ~rows, np.zeros((1, rows.shape[1]), np.uint64)])
        for group in self.groups(1 << (rows.shape[1] - 1).bit_length()):
            counter = np.repeat(group.begin, planes.shape[1], axis=2)
            over = np.zeros((len(group.order), planes.shape[1]), np.uint64)
            taken, spare = np.empty((UNIT, *over.shape), np.uint64), np.empty_like(over)
            for number, step in enumerate(group.steps):
                planes.take(step, axis=0, out=taken, mode="clip")
                if self.depth == 0:
                    np.bitwise_or(over, np.bitwise_or.reduce(taken, axis=0, out=spare), out=over)
                else:
                    np.bitwise_or(over, _add(counter, taken, spare), out=over)
                if number & 1 and number + 1 < len(group.steps) and not (~over).any():
                    break
            yield group, counter, over

    def _vote(self, sums: np.ndarray, votes: np.ndarray, counter: np.ndarray, alive: np.ndarray) -> None:
        """Add the votes (c, K) of a group to sums (K, B): value by value where few are above 0, else as a product."""
        rows = sums.shape[1]
        if rows % 64:
            alive[:, -1] &= np.uint64((1 << rows % 64) - 1)
        if int(np.bitwise_count(alive).sum()) > FEW * alive.size * 64:
            sums += votes.T @ _worth(counter, alive)[:, :rows]
            return
        clause, word = np.nonzero(alive)
        some, place = np.nonzero(_spread(alive[clause, word][:, None]))
        worth = np.full(len(some), 1 << self.depth, np.int64)
        for d, plane in enumerate(counter):
            worth -= (plane[clause[some], word[some]] >> place.astype(np.uint64) & np.uint64(1)).astype(np.int64) << d
        row, paid = word[some] * 64 + place, votes[clause[some]] * worth[:, None]
        for k in range(len(sums)):
            sums[k] += np.bincount(row, paid[:, k], minlength=rows)


def _add(counter: np.ndarray, taken: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """Eight rows into counters of at least three planes, all in place; what is carried out of the last plane."""
    distance = 1
    for plane in counter[:3]:
        for i in range(distance - 1, UNIT, 2 * distance):
            _full_adder(plane, taken[i], taken[i + distance], spare)
        distance *= 2
    up = taken[-1]
    for plane in counter[3:]:
        np.bitwise_and(plane, up, out=spare)
        np.bitwise_xor(plane, up, out=plane)
        up, spare = spare, up
    return up


def _full_adder(total: np.ndarray, a: np.ndarray, b: np.ndarray, spare: np.ndarray) -> None:
    """total + a + b: the sum to `total`, the carry to `b`; `a` and `spare` are lost."""
    np.bitwise_xor(b, total, out=spare)
    np.bitwise_xor(a, b, out=a)
    np.bitwise_and(spare, a, out=spare)
    np.bitwise_xor(b, spare, out=b)
    np.bitwise_xor(total, a, out=total)


def _worth(counter: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """(c, 64 W) float64: 2^k less what a counter has counted, where it is alive."""
    worth = _spread(alive).astype(np.float64) * (1 << len(counter))
    for d, plane in enumerate(counter):
        worth -= _spread(plane & alive).astype(np.float64) * (1 << d)
    return np.asarray(worth)


def _spread(words: np.ndarray) -> np.ndarray:
    """(n, W) words as (n, 64 W) bits."""
    return np.unpackbits(np.ascontiguousarray(words, dtype="<u8").view(np.uint8), axis=1, bitorder="little")
