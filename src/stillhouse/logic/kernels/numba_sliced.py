"""Bit-sliced clauses: a word holds one bit of 64 images, counters of misses are planes of such words, votes are added at once.

Shapes: B rows, P values a row, L levels, F = L P bits, W words of a block (64 W images), c clauses, K outputs, k bits of a counter.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numba
import numpy as np
from llvmlite import binding
from numba import njit

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernels.plan import Plan
from stillhouse.logic.kernels.words import (
    above,
    add,
    add_votes,
    all_ones,
    both,
    carry,
    carry_of_nots,
    differ,
    either,
    fill,
    left,
    load,
    lowest,
    right,
    store,
)

CHUNK = 64  # clauses whose planes wait, in the nearest cache, for their votes to be added
compiled: Any = njit(nogil=True, cache=True, boundscheck=False)
inlined: Any = njit(nogil=True, boundscheck=False)


@inlined
def add_eight(ones, twos, fours, planes, rows, i, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Seven full adders: eight rows into a counter of three planes, and what is carried out of it."""
    a, b = load(planes, np.int64(rows[i]), lanes), load(planes, np.int64(rows[i + 1]), lanes)
    first, ones = carry(ones, a, b), add(ones, a, b)
    a, b = load(planes, np.int64(rows[i + 2]), lanes), load(planes, np.int64(rows[i + 3]), lanes)
    second, ones = carry(ones, a, b), add(ones, a, b)
    low, twos = carry(twos, first, second), add(twos, first, second)
    a, b = load(planes, np.int64(rows[i + 4]), lanes), load(planes, np.int64(rows[i + 5]), lanes)
    first, ones = carry(ones, a, b), add(ones, a, b)
    a, b = load(planes, np.int64(rows[i + 6]), lanes), load(planes, np.int64(rows[i + 7]), lanes)
    second, ones = carry(ones, a, b), add(ones, a, b)
    high, twos = carry(twos, first, second), add(twos, first, second)
    return ones, twos, add(fours, low, high), carry(fours, low, high)


@inlined
def add_eight_nots(ones, twos, fours, planes, rows, i, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The same of the negations of eight rows: full adders are self-dual, so only carries are negated."""
    a, b = load(planes, np.int64(rows[i]), lanes), load(planes, np.int64(rows[i + 1]), lanes)
    first, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    a, b = load(planes, np.int64(rows[i + 2]), lanes), load(planes, np.int64(rows[i + 3]), lanes)
    second, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    low, twos = carry_of_nots(twos, first, second), add(twos, first, second)
    a, b = load(planes, np.int64(rows[i + 4]), lanes), load(planes, np.int64(rows[i + 5]), lanes)
    first, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    a, b = load(planes, np.int64(rows[i + 6]), lanes), load(planes, np.int64(rows[i + 7]), lanes)
    second, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    high, twos = carry_of_nots(twos, first, second), add(twos, first, second)
    over = differ(carry_of_nots(fours, low, high), fill(-1, lanes))
    return ones, twos, add(fours, low, high), over


@inlined
def carry_on(up, high, over, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """A carry of eight into the planes above; what leaves the last one stays in `over`."""
    a, b, c, d, e = high
    if len(depth) > 3:
        a, up = differ(a, up), both(a, up)
    if len(depth) > 4:
        b, up = differ(b, up), both(b, up)
    if len(depth) > 5:
        c, up = differ(c, up), both(c, up)
    if len(depth) > 6:
        d, up = differ(d, up), both(d, up)
    if len(depth) > 7:
        e, up = differ(e, up), both(e, up)
    return (a, b, c, d, e), either(over, up)


@inlined
def count(planes, rows, i, middle, end, counter, over, lanes, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add rows, the first as negations, to a counter of three low and five high planes; leaves early where all are over."""
    ones, twos, fours, high = counter
    while i < middle:
        ones, twos, fours, up = add_eight_nots(ones, twos, fours, planes, rows, i, lanes)
        high, over = carry_on(up, high, over, depth)
        i += 8
    while i < end:
        ones, twos, fours, up = add_eight(ones, twos, fours, planes, rows, i, lanes)
        high, over = carry_on(up, high, over, depth)
        i += 8
        if i & 8 and all_ones(over):
            break
    return (ones, twos, fours, high), over


@inlined
def begun(value, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """A counter that begins at a value."""
    low = (fill(-(value & 1), lanes), fill(-(value >> 1 & 1), lanes), fill(-(value >> 2 & 1), lanes))
    a, b, c = fill(-(value >> 3 & 1), lanes), fill(-(value >> 4 & 1), lanes), fill(-(value >> 5 & 1), lanes)
    d, e = fill(-(value >> 6 & 1), lanes), fill(-(value >> 7 & 1), lanes)
    return low[0], low[1], low[2], (a, b, c, d, e)


@inlined
def keep(out, at, counter, over, lanes, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the planes of a counter, then `over`."""
    words, (ones, twos, fours, high) = len(lanes), counter
    if len(depth) > 0:
        store(out, at, ones)
        store(out, at + words, twos)
        store(out, at + 2 * words, fours)
    if len(depth) > 3:
        store(out, at + 3 * words, high[0])
    if len(depth) > 4:
        store(out, at + 4 * words, high[1])
    if len(depth) > 5:
        store(out, at + 5 * words, high[2])
    if len(depth) > 6:
        store(out, at + 6 * words, high[3])
    if len(depth) > 7:
        store(out, at + 7 * words, high[4])
    store(out, at + len(depth) * words, over)


@inlined
def silenced(planes, rows, i, end, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Where any of the rows has a one: a crisp clause; leaves as soon as that is everywhere."""
    over = fill(0, lanes)
    while i < end:
        a = either(load(planes, np.int64(rows[i]), lanes), load(planes, np.int64(rows[i + 1]), lanes))
        b = either(load(planes, np.int64(rows[i + 2]), lanes), load(planes, np.int64(rows[i + 3]), lanes))
        c = either(load(planes, np.int64(rows[i + 4]), lanes), load(planes, np.int64(rows[i + 5]), lanes))
        d = either(load(planes, np.int64(rows[i + 6]), lanes), load(planes, np.int64(rows[i + 7]), lanes))
        over = either(over, either(either(a, b), either(c, d)))
        i += 8
        if all_ones(over):
            break
    return over


@inlined
def evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The planes of clauses `first` to `last - 1` into `out`, (k + 1) W words each."""
    stride = (len(depth) + 1) * len(lanes)
    for j in range(first, last):
        at = (j - first) * stride
        if len(depth) == 0:
            store(out, at, silenced(planes, rows, starts[j], starts[j + 1], lanes))
        else:
            middle = starts[j] + wanted[j]
            counter, over = count(
                planes, rows, starts[j], middle, starts[j + 1], begun(begin[j], lanes), fill(0, lanes), lanes, depth
            )
            keep(out, at, counter, over, lanes, depth)


@inlined
def value_of(out, at, words, place, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """What a clause is worth to one image, where its counter has not run over."""
    worth = np.int64(1) << len(depth)
    for d in range(len(depth)):
        worth -= (out[at + d * words] >> place & 1) << d
    return worth


@inlined
def swap(block, i, j, distance, mask, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One exchange of a transposition of 64 x 64 bits."""
    words = len(lanes)
    a, b = load(block, i * words, lanes), load(block, j * words, lanes)
    moved = both(differ(right(a, distance), b), fill(mask, lanes))
    store(block, j * words, differ(b, moved))
    store(block, i * words, differ(a, left(moved, distance)))


@inlined
def transpose(block, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """In each lane, bit p of word i becomes bit i of word p: six rounds of exchanges (Warren, Hacker's Delight 7-3)."""
    distance, mask = np.int64(32), np.int64(0x00000000FFFFFFFF)
    while distance:
        i = np.int64(0)
        while i < 64:
            for one in range(i, i + distance):
                swap(block, one, one + distance, distance, mask, lanes)
            i += 2 * distance
        distance >>= 1
        mask ^= mask << distance


@inlined
def to_planes(pixels, first, limits, planes, block, scratch, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Rows of bits of the 64 W images from `first` on: 64 values of each compared at a time, then transposed.

    `pixels` (B, P) uint8; where a block is not full, or P below 64, images go through `scratch`, which has room.
    """
    words, count_of = len(lanes), pixels.shape[1]
    images, width = 64 * words, max(count_of, 64)
    flat, base = pixels.ravel(), first * count_of
    if first + images > pixels.shape[0] or count_of < 64:
        here = min(images, pixels.shape[0] - first)
        for i in range(here):
            for p in range(count_of):
                scratch[i * width + p] = pixels[first + i, p]
        flat, base = scratch, np.int64(0)
    bits = count_of * len(limits)
    for level in range(len(limits)):
        start = np.int64(0)
        while start < count_of:
            begin = max(min(start, count_of - 64), 0)  # the last piece overlaps the one before
            for w in range(words):
                for i in range(64):
                    block[i * words + w] = above(flat, base + (w * 64 + i) * width + begin, limits[level])
            transpose(block, lanes)
            for p in range(begin, min(begin + 64, count_of)):
                row = load(block, (p - begin) * words, lanes)
                store(planes, (level * count_of + p) * words, row)
                store(planes, (bits + level * count_of + p) * words, differ(row, fill(-1, lanes)))
            start += 64


@inlined
def room(pixels, limits, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Planes (2 F + 1, W) with their row of zeros, a block for transpositions, a scratch for images."""
    words = len(lanes)
    planes = np.zeros((2 * pixels.shape[1] * len(limits) + 1) * words, np.int64)
    return planes, np.zeros(64 * words, np.int64), np.zeros(64 * words * max(pixels.shape[1], 64), np.uint8)


@compiled
def sliced_scores(pixels, limits, rows, starts, wanted, begin, votes, sums, lanes, depth, group):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the votes of all clauses to `sums`.

    Args:
        pixels: (B, P) uint8.
        limits: (L) uint8; a bit is a value above its limit.
        rows: of the plan, times W.
        starts: of the plan.
        wanted: of the plan.
        begin: of the plan.
        votes: (c K') int32 in the plan's order; K' is K padded to a multiple of the group.
        sums: (B K' + 1) int32.
        lanes: W zeros.
        depth: k zeros.
        group: as many zeros as votes are added at once.
    """
    words, clauses = len(lanes), len(begin)
    planes, block, scratch = room(pixels, limits, lanes)
    stride = (len(depth) + 1) * words
    out = np.zeros(CHUNK * stride, np.int64)
    width = len(votes) // max(clauses, 1)
    for image in range(0, pixels.shape[0], 64 * words):
        to_planes(pixels, image, limits, planes, block, scratch, lanes)
        for first in range(0, clauses, CHUNK):
            last = min(first + CHUNK, clauses)
            evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth)
            for w in range(words):
                here = min(pixels.shape[0] - image - 64 * w, 64)
                if here <= 0:
                    break
                known = np.int64(-1) if here == 64 else (np.int64(1) << here) - 1
                for j in range(first, last):
                    at = (j - first) * stride + w
                    alive = ~out[at + len(depth) * words] & known
                    while alive != 0:
                        place = lowest(alive)
                        alive &= alive - 1
                        worth = value_of(out, at, words, place, depth)
                        to = (image + 64 * w + place) * width
                        for k in range(0, width, len(group)):
                            add_votes(sums, to + k, votes, j * width + k, np.int32(worth), group)


@compiled
def sliced_values(pixels, limits, rows, starts, wanted, begin, values, lanes, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The value of every clause of the plan: `values` (B, c) int32, zeros before."""
    words, clauses = len(lanes), len(begin)
    planes, block, scratch = room(pixels, limits, lanes)
    stride = (len(depth) + 1) * words
    out = np.zeros(CHUNK * stride, np.int64)
    for image in range(0, pixels.shape[0], 64 * words):
        to_planes(pixels, image, limits, planes, block, scratch, lanes)
        for first in range(0, clauses, CHUNK):
            last = min(first + CHUNK, clauses)
            evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth)
            for i in range(min(64 * words, pixels.shape[0] - image)):
                for j in range(first, last):
                    at = (j - first) * stride + i // 64
                    if ~out[at + len(depth) * words] >> (i & 63) & 1:
                        values[image + i, j] = value_of(out, at, words, i & 63, depth)


@compiled
def sliced_planes(planes, rows, starts, wanted, begin, out, lanes, depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Clauses alone, of planes that are ready (block after block): what a benchmark compares with a matrix product.

    `out` holds the planes of the last `CHUNK` clauses.
    """
    clauses = len(begin)
    for block in range(planes.shape[0]):
        for first in range(0, clauses, CHUNK):
            evaluate(planes[block], rows, starts, wanted, begin, first, min(first + CHUNK, clauses), out, lanes, depth)


def widest_words() -> int:
    """Words of a block that this CPU keeps in one register: 8 with AVX-512, else 4."""
    limits = os.environ.get("NUMBA_CPU_FEATURES")
    if limits is not None:
        return 8 if "+avx512vl" in limits.split(",") else 4
    return 8 if binding.get_host_cpu_features().get("avx512vl", False) else 4


def threads() -> int:
    """How many threads an evaluation may take: numba's number, OMP_NUM_THREADS and the cores of the process allow it."""
    found = numba.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        found = min(found, len(os.sched_getaffinity(0)))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(found, int(asked)) if asked.isdigit() and int(asked) else found)


class NumbaSliced:
    """A clause set for blocks of 64 W images.

    Args:
        clauses: the set.
        words: W; None for what this CPU keeps in one register.
    """

    def __init__(self, clauses: ClauseSet, words: int | None = None) -> None:
        self.clauses, self.plan = clauses, Plan.of(clauses)
        self.lanes = (0,) * (words or widest_words())
        self.depth = (0,) * self.plan.depth
        self.rows = (self.plan.rows * len(self.lanes)).astype(np.int32)
        self.group = (0,) * (16 if clauses.outputs > 8 else 8)
        width = -(-clauses.outputs // len(self.group)) * len(self.group)
        self.votes = np.zeros((len(self.plan.order), width), np.int32)
        self.votes[:, : clauses.outputs] = clauses.votes[self.plan.order]

    @cached_property
    def walk(self) -> tuple[np.ndarray, ...]:
        """The plan as the kernels take it."""
        return self.rows, self.plan.starts, self.plan.wanted, self.plan.begin

    def scores_of_pixels(self, pixels: np.ndarray, cuts: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of values (B, P) uint8, a bit for each that is at least a cut (1 to 255), level by level."""
        pixels, limits = np.ascontiguousarray(pixels), (cuts - 1).astype(np.uint8)
        width = self.votes.shape[1]
        sums = np.zeros((len(pixels), width), np.int32)
        votes = self.votes.reshape(-1)

        def work(part: slice) -> None:
            of_part = sums[part].reshape(-1)
            sliced_scores(pixels[part], limits, *self.walk, votes, of_part, self.lanes, self.depth, self.group)

        block = 64 * len(self.lanes)
        workers = min(threads(), len(pixels) // (2 * block)) if parallel else 1
        if workers > 1:
            share = -(-len(pixels) // (workers * block)) * block
            with ThreadPoolExecutor(workers) as pool:  # kernels release the interpreter
                list(pool.map(work, [slice(i, i + share) for i in range(0, len(pixels), share)]))
        elif len(pixels):
            work(slice(None))
        return np.asarray(sums[:, : self.clauses.outputs] + self.clauses.bias)

    def scores(self, bits: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1."""
        return self.scores_of_pixels(bits.astype(bool, copy=False).view(np.uint8), np.ones(1, np.int16), parallel)

    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F)."""
        found = np.zeros((len(bits), self.clauses.num_clauses), np.int32)
        pixels = np.ascontiguousarray(bits.astype(bool, copy=False)).view(np.uint8)
        values = np.zeros((len(bits), len(self.plan.order)), np.int32)
        if len(bits) and len(self.plan.order):
            sliced_values(pixels, np.zeros(1, np.uint8), *self.walk, values, self.lanes, self.depth)
        found[:, self.plan.order] = values
        return found
