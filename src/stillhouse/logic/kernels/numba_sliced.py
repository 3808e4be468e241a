"""Bit-sliced clauses: a word holds one bit of 64 images, counters of misses are planes of such words, votes are added at once.

Shapes: B rows, P values a row, L levels, F = L P bits, W words of a block (64 W images), c clauses, K outputs, k bits of a counter.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
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
    address,
    all_ones,
    both,
    byte,
    carry,
    carry_of_nots,
    differ,
    either,
    fill,
    left,
    load,
    load_row,
    lowest,
    number,
    right,
    store,
)

ONE_BIT = np.ones(1, np.int16)
CHUNK = 64  # clauses whose planes wait, in the nearest cache, for their votes to be added
compiled: Any = njit(nogil=True, cache=True, boundscheck=False)
inlined: Any = njit(nogil=True, boundscheck=False, inline="always")


@inlined
def add_eight(ones, twos, fours, planes, rows, i, lanes):
    """Seven full adders: eight rows into a counter of three planes, and what is carried out of it."""
    a, b = load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes)
    first, ones = carry(ones, a, b), add(ones, a, b)
    a, b = load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes)
    second, ones = carry(ones, a, b), add(ones, a, b)
    low, twos = carry(twos, first, second), add(twos, first, second)
    a, b = load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes)
    first, ones = carry(ones, a, b), add(ones, a, b)
    a, b = load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes)
    second, ones = carry(ones, a, b), add(ones, a, b)
    high, twos = carry(twos, first, second), add(twos, first, second)
    return ones, twos, add(fours, low, high), carry(fours, low, high)


@inlined
def add_eight_nots(ones, twos, fours, planes, rows, i, lanes):
    """The same of the negations of eight rows: full adders are self-dual, so only carries are negated."""
    a, b = load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes)
    first, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    a, b = load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes)
    second, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    low, twos = carry_of_nots(twos, first, second), add(twos, first, second)
    a, b = load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes)
    first, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    a, b = load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes)
    second, ones = carry_of_nots(ones, a, b), add(ones, a, b)
    high, twos = carry_of_nots(twos, first, second), add(twos, first, second)
    over = differ(carry_of_nots(fours, low, high), fill(-1, lanes))
    return ones, twos, add(fours, low, high), over


@inlined
def carry_on(up, high, over, depth):
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
def count(planes, rows, i, middle, end, counter, over, lanes, depth):
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
def begun(value, lanes):
    """A counter that begins at a value."""
    low = (fill(-(value & 1), lanes), fill(-(value >> 1 & 1), lanes), fill(-(value >> 2 & 1), lanes))
    a, b, c = fill(-(value >> 3 & 1), lanes), fill(-(value >> 4 & 1), lanes), fill(-(value >> 5 & 1), lanes)
    d, e = fill(-(value >> 6 & 1), lanes), fill(-(value >> 7 & 1), lanes)
    return low[0], low[1], low[2], (a, b, c, d, e)


@inlined
def keep(out, at, counter, over, lanes, depth):
    """Write the planes of a counter, then `over`."""
    words, (ones, twos, fours, high) = (1 << len(lanes)), counter
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
def silenced(planes, rows, i, end, over, lanes):
    """Where any of the rows has a one: a crisp clause; leaves as soon as that is everywhere."""
    while i < end:
        a = either(load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes))
        b = either(load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes))
        c = either(load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes))
        d = either(load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes))
        over = either(over, either(either(a, b), either(c, d)))
        i += 8
        if all_ones(over):
            break
    return over


@compiled
def evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth):
    """The planes of clauses `first` to `last - 1` into `out`, (k + 1) W words each."""
    stride = (len(depth) + 1) * (1 << len(lanes))
    for j in range(first, last):
        at = (j - first) * stride
        if len(depth) == 0:
            store(out, at, silenced(planes, rows, number(starts, j), number(starts, j + 1), fill(0, lanes), lanes))
        else:
            start, counter = number(starts, j), begun(number(begin, j), lanes)
            middle, end = start + number(wanted, j), number(starts, j + 1)
            counter, over = count(planes, rows, start, middle, end, counter, fill(0, lanes), lanes, depth)
            keep(out, at, counter, over, lanes, depth)


@inlined
def value_of(out, at, words, place, depth):
    """What a clause is worth to one image, where its counter has not run over."""
    worth = np.int64(1) << len(depth)
    for d in range(len(depth)):
        worth -= (number(out, at + d * words) >> place & 1) << d
    return worth


@inlined
def swap(block, i, j, distance, mask, lanes):
    """One exchange of a transposition of 64 x 64 bits."""
    words = 1 << len(lanes)
    a, b = load(block, i * words, lanes), load(block, j * words, lanes)
    moved = both(differ(right(a, distance), b), fill(mask, lanes))
    store(block, j * words, differ(b, moved))
    store(block, i * words, differ(a, left(moved, distance)))


@inlined
def transpose(block, lanes):
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


@compiled
def to_planes(pixels, width, values, limits, levels, planes, lanes):
    """Rows of bits of 64 W images: 64 values of each compared at a time, then transposed.

    Args:
        pixels: of the first image, bytes.
        width: bytes from one image to the next, at least 64.
        values: P.
        limits: a bit is a value above its limit, bytes.
        levels: L.
        planes: (2 F + 1, W).
        lanes: log2 W zeros.
    """
    words, bits = (1 << len(lanes)), values * levels
    kept = np.empty(64 * words, np.int64)
    block = address(kept)
    for level in range(levels):
        limit, start = np.uint8(byte(limits, level)), np.int64(0)
        while start < values:
            begin = max(min(start, values - 64), 0)  # the last piece overlaps the one before
            for w in range(words):
                for i in range(64):
                    kept[i * words + w] = above(pixels, (w * 64 + i) * width + begin, limit)
            transpose(block, lanes)
            for p in range(begin, min(begin + 64, values)):
                row = load(block, (p - begin) * words, lanes)
                store(planes, (level * values + p) * words, row)
                store(planes, (bits + level * values + p) * words, differ(row, fill(-1, lanes)))
            start += 64


@inlined
def vote(out, words, first, last, known, votes, width, sums, depth, group):
    """Add the votes of clauses whose planes are in `out` to the sums of 64 images (one word of each plane)."""
    stride = (len(depth) + 1) * words
    for j in range(first, last):
        at = (j - first) * stride
        alive = ~number(out, at + len(depth) * words) & known
        while alive != 0:
            place = lowest(alive)
            alive &= alive - 1
            worth = np.int32(value_of(out, at, words, place, depth))
            for k in range(0, width, (1 << len(group))):
                add_votes(sums, place * width + k, votes, j * width + k, worth, group)


@compiled
def sliced_scores(
    pixels, width, images, values, limits, levels, walk, clauses, votes, outputs, sums, lanes, depth, group
):
    """Add the votes of all clauses to the sums. Arrays come as addresses: one signature, whatever they are views of.

    Args:
        pixels: bytes; every block of 64 W images may be read to its end.
        width: see `to_planes`.
        images: B.
        values: P.
        limits: see `to_planes`.
        levels: L.
        walk: addresses of the plan's rows (times W), starts, wanted and begin.
        clauses: c.
        votes: (c, K') int32 in the plan's order, K' a multiple of the group.
        outputs: K'.
        sums: (B, K') int32.
        lanes: log2 W zeros.
        depth: k zeros.
        group: n zeros where 2^n votes are added at once.
    """
    words, (rows, starts, wanted, begin) = 1 << len(lanes), walk
    bits = np.zeros((2 * values * levels + 1) * words, np.int64)
    kept = np.empty(CHUNK * (len(depth) + 1) * words, np.int64)
    planes, out = address(bits), address(kept)
    for image in range(0, images, 64 * words):
        to_planes(pixels + image * width, width, values, limits, levels, planes, lanes)
        for first in range(0, clauses, CHUNK):
            last = min(first + CHUNK, clauses)
            evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth)
            for w in range(words):
                here = min(images - image - 64 * w, 64)
                if here > 0:
                    known = np.int64(-1) if here == 64 else (np.int64(1) << here) - 1
                    of_word = sums + 4 * (image + 64 * w) * outputs
                    vote(out + 8 * w, words, first, last, known, votes, outputs, of_word, depth, group)
    return bits.size + kept.size  # numba frees an array after its last use: not before here


@compiled
def sliced_planes(planes, size, blocks, walk, clauses, out, lanes, depth):
    """Clauses alone, of planes that are ready (`size` words a block): what a benchmark compares with a matrix product.

    `out` holds the planes of the last `CHUNK` clauses.
    """
    rows, starts, wanted, begin = walk
    for block in range(blocks):
        for first in range(0, clauses, CHUNK):
            last = min(first + CHUNK, clauses)
            evaluate(planes + 8 * block * size, rows, starts, wanted, begin, first, last, out, lanes, depth)


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


def where(array: np.ndarray) -> int:
    """The address of an array's first element; whoever passes it on keeps the array."""
    return int(array.__array_interface__["data"][0])


class NumbaSliced:
    """A clause set for blocks of 64 W images.

    Args:
        clauses: the set.
        words: W; None for what this CPU keeps in one register.
    """

    def __init__(self, clauses: ClauseSet, words: int | None = None) -> None:
        self.clauses, self.plan = clauses, Plan.of(clauses)
        self.words = words or widest_words()
        self.lanes = (0,) * (self.words.bit_length() - 1)
        self.block = 64 * self.words
        self.depth = (0,) * self.plan.depth
        self.rows = np.ascontiguousarray(self.plan.rows * self.words, dtype=np.int32)
        self.walk = tuple(map(where, (self.rows, self.plan.starts, self.plan.wanted, self.plan.begin)))
        self.votes, self.group = grouped_votes(clauses, self.plan)

    def scores_of_pixels(self, pixels: np.ndarray, cuts: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of values (B, P) uint8, a bit for each that is at least a cut (1 to 255), level by level."""
        images, values = pixels.shape
        limits = (cuts - 1).astype(np.uint8)
        sums = np.zeros((images, self.votes.shape[1]), np.int32)

        def work(first: int, some: np.ndarray) -> None:
            sliced_scores(
                where(some),
                some.shape[1],
                min(len(some), images - first),
                values,
                where(limits),
                len(limits),
                self.walk,
                len(self.plan.order),
                where(self.votes),
                sums.shape[1],
                where(sums[first:]),
                self.lanes,
                self.depth,
                self.group,
            )

        pieces = self._pieces(pixels, threads() if parallel else 1)
        if len(pieces) > 2:
            with ThreadPoolExecutor(len(pieces)) as pool:  # kernels release the interpreter
                list(pool.map(work, *zip(*pieces)))
        else:
            for first, some in pieces:
                work(first, some)
        return np.asarray(sums[:, : self.clauses.outputs] + self.clauses.bias)

    def _pieces(self, pixels: np.ndarray, workers: int) -> list[tuple[int, np.ndarray]]:
        """Where a piece begins and its rows: whole blocks as they are, the rest copied, so that a block can be read to its end."""
        images, values = pixels.shape
        if values < 64:
            pixels = np.pad(pixels, [(0, 0), (0, 64 - values)])
        pixels = np.ascontiguousarray(pixels)
        whole = images // self.block * self.block
        share = max(-(-whole // (max(workers, 1) * self.block)), 2) * self.block
        pieces = [(i, pixels[i : min(i + share, whole)]) for i in range(0, whole, share)]
        if images > whole:
            rest = np.zeros((self.block, pixels.shape[1]), np.uint8)
            rest[: images - whole] = pixels[whole:]
            pieces.append((whole, rest))
        return pieces

    def scores(self, bits: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1."""
        return self.scores_of_pixels(bits.astype(bool, copy=False).view(np.uint8), ONE_BIT, parallel)

    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F)."""
        found, limits = np.zeros((len(bits), self.clauses.num_clauses), np.int32), np.zeros(1, np.uint8)
        rows, starts, wanted, begin = self.walk
        count_of, depth = len(self.plan.order), self.plan.depth
        planes = np.zeros((2 * bits.shape[1] + 1, self.words), np.int64)
        kept = np.zeros((count_of, depth + 1, self.words), np.int64)
        for first, some in self._pieces(bits.astype(bool, copy=False).view(np.uint8), 1):
            for at in range(0, len(some), self.block):
                pixels = where(some) + at * some.shape[1]
                to_planes(pixels, some.shape[1], bits.shape[1], where(limits), 1, where(planes), self.lanes)
                evaluate(where(planes), rows, starts, wanted, begin, 0, count_of, where(kept), self.lanes, self.depth)
                spread = np.unpackbits(kept.view(np.uint8), axis=2, bitorder="little").astype(np.int32)
                worth = 2**depth - (spread[:, :depth] << np.arange(depth)[:, None]).sum(1)
                here = slice(first + at, min(first + at + self.block, len(bits)))
                found[here, self.plan.order] = (worth * (1 - spread[:, depth])).T[: here.stop - here.start]
        return found


def grouped_votes(clauses: ClauseSet, plan: Plan) -> tuple[np.ndarray, tuple[int, ...]]:
    """(c, K') int32 votes in the plan's order, padded to a multiple of 2^n, and n zeros: so many are added at once."""
    group = 16 if clauses.outputs > 8 else 8
    votes = np.zeros((len(plan.order), -(-clauses.outputs // group) * group), np.int32)
    votes[:, : clauses.outputs] = clauses.votes[plan.order]
    return votes, (0,) * (group.bit_length() - 1)
