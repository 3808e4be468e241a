"""Bit-sliced clauses: a word holds one bit of 64 rows, counters of misses are planes of such words.

Shapes: B rows, P values a row, L levels, F = L P bits, C clauses, K outputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from stillhouse.logic.clause_set import ClauseSet

UNIT = 8  # literals added at a time
FEWEST = 512  # rows of a thread: fewer take less time than it takes to start one
ALL = np.uint64(2**64 - 1)
inlined: Any = njit(nogil=True, boundscheck=False, inline="always")


@intrinsic
def lowest(typingctx: Any, word: Any) -> tuple[Any, Callable[..., Any]]:
    """The place of the lowest 1 in a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@inlined
def carry(a, b, c):
    """What three bits carry; their sum is a ^ b ^ c."""
    return (a & b) | (c & (a ^ b))


@inlined
def add_eight(low, planes, rows, i):
    """Seven full adders: eight planes into a counter of three bits, and what is carried out of it."""
    ones, twos, fours = low
    a, b, c, d = planes[rows[i]], planes[rows[i + 1]], planes[rows[i + 2]], planes[rows[i + 3]]
    e, f, g, h = planes[rows[i + 4]], planes[rows[i + 5]], planes[rows[i + 6]], planes[rows[i + 7]]
    s = ones ^ a ^ b
    t = s ^ c ^ d
    u = t ^ e ^ f
    first, second = carry(ones, a, b), carry(s, c, d)
    third, fourth = carry(t, e, f), carry(u, g, h)
    v = twos ^ first ^ second
    fifth, sixth = carry(twos, first, second), carry(v, third, fourth)
    return (u ^ g ^ h, v ^ third ^ fourth, fours ^ fifth ^ sixth), carry(fours, fifth, sixth)


@inlined
def to_planes(pixels, cuts, planes):
    """Misses of up to 64 rows: where bits are 0, then where they are 1; the last plane stays 0."""
    values, bits = pixels.shape[1], pixels.shape[1] * len(cuts)
    planes[:] = np.uint64(0)
    for level in range(len(cuts)):
        ones, cut = planes[bits + level * values : bits + (level + 1) * values], cuts[level]
        for r in range(len(pixels)):
            row, here = pixels[r], np.uint64(1) << np.uint64(r)
            for p in range(values):
                ones[p] |= here if row[p] >= cut else np.uint64(0)
    for f in range(bits):
        planes[f] = ~planes[bits + f]


@njit(nogil=True, cache=True, boundscheck=False)
def add_scores(pixels, cuts, plan, depth, sums):
    """Add the votes of all clauses to the sums, 64 rows at a time.

    Args:
        pixels: (B, P) uint8.
        cuts: (L) uint8.
        plan: see `Kernel`: rows and starts (C + 1) uint64 (signed indices take longer), begin (C), votes (C, K).
        depth: bits of a counter, at least 3.
        sums: (B, K) int64.
    """
    rows, starts, begin, votes = plan
    planes = np.zeros(2 * pixels.shape[1] * len(cuts) + 1, np.uint64)
    high = np.zeros(depth, np.uint64)
    for first in range(0, len(pixels), 64):
        part = pixels[first : first + 64]
        to_planes(part, cuts, planes)
        known = ALL >> np.uint64(64 - len(part))
        for j in range(len(begin)):
            alive, value = known, begin[j]
            low = (np.uint64(-(value & 1)), np.uint64(-(value >> 1 & 1)), np.uint64(-(value >> 2 & 1)))
            for d in range(3, depth):
                high[d] = np.uint64(-(value >> d & 1))
            for i in range(starts[j], starts[j + 1], UNIT):
                low, up = add_eight(low, planes, rows, i)
                for d in range(3, depth):
                    high[d], up = high[d] ^ up, high[d] & up
                alive &= ~up
                if alive == 0:
                    break
            while alive != 0:
                r = lowest(alive)
                alive &= alive - np.uint64(1)
                worth = np.int64(1) << depth
                for d in range(3):
                    worth -= np.int64(low[d] >> r & np.uint64(1)) << d
                for d in range(3, depth):
                    worth -= np.int64(high[d] >> r & np.uint64(1)) << d
                for k in range(votes.shape[1]):
                    sums[first + r, k] += worth * votes[j, k]


def threads() -> int:
    """How many threads an evaluation may take: numba's number, OMP_NUM_THREADS and the cores of the process allow it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(numba.get_num_threads(), cores, int(asked) if asked.isdigit() else cores))


class Kernel:
    """A clause set, ready to be evaluated. A counter begins so that it runs over where a clause's capacity is used up."""

    def __init__(self, clauses: ClauseSet) -> None:
        self.clauses = clauses
        self.depth = max(int(clauses.failures - 1).bit_length(), 3)
        nothing = 2 * clauses.bits  # the plane without a miss fills up to eights
        walks = [clauses.clause(j) for j in np.flatnonzero(clauses.capacity > 0)]
        walks = [np.concatenate([walk, np.full(-len(walk) % UNIT, nothing)]) for walk in walks]
        alive = clauses.capacity > 0
        rows = np.concatenate([np.zeros(0), *walks]).astype(np.uint64)
        starts = np.cumsum([0, *map(len, walks)]).astype(np.uint64)
        begin = 2**self.depth - clauses.capacity[alive].astype(np.int64)
        self.plan = rows, starts, begin, clauses.votes[alive].astype(np.int64)

    def scores_of_pixels(self, pixels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """(B, K) int64 of values (B, P) uint8, a bit for each that is at least a cut (1 to 255), level by level."""
        sums = np.tile(self.clauses.bias, (len(pixels), 1))

        def work(part: slice) -> None:
            add_scores(np.ascontiguousarray(pixels[part]), cuts.astype(np.uint8), self.plan, self.depth, sums[part])

        share = max(-(-len(pixels) // (64 * threads())) * 64, FEWEST)
        parts = [slice(i, i + share) for i in range(0, len(pixels), share)]
        if len(parts) == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(threads()) as pool:  # kernels release the interpreter
                list(pool.map(work, parts))
        return sums

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool."""
        return self.scores_of_pixels(bits.view(np.uint8), np.ones(1, np.int16))
