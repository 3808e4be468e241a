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
    adds_three,
    all_zeros,
    both,
    but_not,
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
CHUNK = 32  # clauses whose planes wait, in the nearest cache, for their votes to be added
compiled: Any = njit(nogil=True, cache=True, boundscheck=False)
inlined: Any = njit(nogil=True, boundscheck=False, inline="always")


@inlined
def two_adders(z, x, p, y, q):
    """z + x + x' + y + y' of bits in eight operations, where p = x ^ x' and q = y ^ y' are there already.

    Returns their sum, the first adder's carry, and its difference from the second's, which is what the next two adders need
    (Demenkov, Kojevnikov, Kulikov, Yaroslavtsev 2010, "New upper bounds on the Boolean circuit complexity of symmetric functions").
    """
    middle, some = differ(z, p), either(differ(z, x), p)  # of one adder: its sum, and its sum ^ its carry
    return differ(middle, q), differ(middle, some), differ(some, but_not(differ(middle, y), q))


@inlined
def two_adders_of_nots(z, x, p, y, q):
    """The same of the negations of x, x', y, y', with the negation of the first carry: full adders are self-dual."""
    middle, some = differ(z, p), but_not(differ(z, x), p)
    return differ(middle, q), differ(middle, some), differ(some, either(differ(middle, y), q))


@inlined
def add_eight(ones, twos, fours, planes, rows, i, lanes):
    """Seven full adders: eight rows into a counter of three planes, and what is carried out of it."""
    a, b = load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes)
    c, d = load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes)
    e, f = load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes)
    g, h = load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes)
    if adds_three(lanes):
        first, ones = carry(ones, a, b), add(ones, a, b)
        second, ones = carry(ones, c, d), add(ones, c, d)
        low, twos = carry(twos, first, second), add(twos, first, second)
        first, ones = carry(ones, e, f), add(ones, e, f)
        second, ones = carry(ones, g, h), add(ones, g, h)
        high, twos = carry(twos, first, second), add(twos, first, second)
        return ones, twos, add(fours, low, high), carry(fours, low, high)
    ones, first, p = two_adders(ones, a, differ(a, b), c, differ(c, d))
    ones, second, q = two_adders(ones, e, differ(e, f), g, differ(g, h))
    twos, low, p = two_adders(twos, first, p, second, q)
    return ones, twos, differ(fours, p), differ(fours, but_not(differ(fours, low), p))


@inlined
def add_eight_nots(ones, twos, fours, planes, rows, i, lanes):
    """The same of the negations of eight rows: only carries are negated."""
    a, b = load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes)
    c, d = load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes)
    e, f = load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes)
    g, h = load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes)
    if adds_three(lanes):
        first, ones = carry_of_nots(ones, a, b), add(ones, a, b)
        second, ones = carry_of_nots(ones, c, d), add(ones, c, d)
        low, twos = carry_of_nots(twos, first, second), add(twos, first, second)
        first, ones = carry_of_nots(ones, e, f), add(ones, e, f)
        second, ones = carry_of_nots(ones, g, h), add(ones, g, h)
        high, twos = carry_of_nots(twos, first, second), add(twos, first, second)
        return ones, twos, add(fours, low, high), differ(carry_of_nots(fours, low, high), fill(-1, lanes))
    ones, first, p = two_adders_of_nots(ones, a, differ(a, b), c, differ(c, d))
    ones, second, q = two_adders_of_nots(ones, e, differ(e, f), g, differ(g, h))
    twos, low, p = two_adders_of_nots(twos, first, p, second, q)
    no_carry = differ(fours, either(differ(fours, low), p))
    return ones, twos, differ(fours, p), differ(no_carry, fill(-1, lanes))


@inlined
def carry_on(up, high, alive, depth):
    """A carry of eight into the planes above; where it leaves the last one, a clause is not `alive` any more."""
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
    return (a, b, c, d, e), but_not(alive, up)


@inlined
def count(planes, rows, i, middle, end, counter, alive, lanes, depth):
    """Add rows, the first as negations, to a counter of three low and five high planes; leaves early where none is alive."""
    ones, twos, fours, high = counter
    while i < middle:
        ones, twos, fours, up = add_eight_nots(ones, twos, fours, planes, rows, i, lanes)
        high, alive = carry_on(up, high, alive, depth)
        i += 8
    while i < end:
        ones, twos, fours, up = add_eight(ones, twos, fours, planes, rows, i, lanes)
        high, alive = carry_on(up, high, alive, depth)
        i += 8
        if i & 8 and all_zeros(alive):
            break
    return (ones, twos, fours, high), alive


@inlined
def count_from_zero(planes, rows, i, middle, end, alive, lanes, depth):
    """The same from a counter of zeros: a quarter of the first adders' work is not there."""
    zero = fill(0, lanes)
    high = (zero, zero, zero, zero, zero)
    if i < middle:
        ones, twos, fours, up = add_eight_nots(zero, zero, zero, planes, rows, i, lanes)
    else:
        ones, twos, fours, up = add_eight(zero, zero, zero, planes, rows, i, lanes)
    high, alive = carry_on(up, high, alive, depth)
    return count(planes, rows, i + 8, middle, end, (ones, twos, fours, high), alive, lanes, depth)


@inlined
def begun(value, lanes):
    """A counter that begins at a value."""
    low = (fill(-(value & 1), lanes), fill(-(value >> 1 & 1), lanes), fill(-(value >> 2 & 1), lanes))
    a, b, c = fill(-(value >> 3 & 1), lanes), fill(-(value >> 4 & 1), lanes), fill(-(value >> 5 & 1), lanes)
    d, e = fill(-(value >> 6 & 1), lanes), fill(-(value >> 7 & 1), lanes)
    return low[0], low[1], low[2], (a, b, c, d, e)


@inlined
def keep(out, at, counter, alive, lanes, depth):
    """Write the planes of a counter, then `alive`."""
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
    store(out, at + len(depth) * words, alive)


@inlined
def unsilenced(planes, rows, i, end, alive, lanes):
    """Where none of the rows has a one: a crisp clause; leaves as soon as that is nowhere."""
    while i < end:
        a = either(load_row(planes, rows, i, lanes), load_row(planes, rows, i + 1, lanes))
        b = either(load_row(planes, rows, i + 2, lanes), load_row(planes, rows, i + 3, lanes))
        c = either(load_row(planes, rows, i + 4, lanes), load_row(planes, rows, i + 5, lanes))
        d = either(load_row(planes, rows, i + 6, lanes), load_row(planes, rows, i + 7, lanes))
        alive = but_not(alive, either(either(a, b), either(c, d)))
        i += 8
        if all_zeros(alive):
            break
    return alive


@compiled
def evaluate(planes, rows, starts, wanted, begin, first, last, out, lanes, depth):
    """The planes of clauses `first` to `last - 1` into `out`, (k + 1) W words each."""
    stride, all_alive = (len(depth) + 1) * (1 << len(lanes)), fill(-1, lanes)
    for j in range(first, last):
        at, start, end = (j - first) * stride, number(starts, j), number(starts, j + 1)
        if len(depth) == 0:
            store(out, at, unsilenced(planes, rows, start, end, all_alive, lanes))
        else:
            value, middle = number(begin, j), start + number(wanted, j)
            if value == 0 and start < end:
                counter, alive = count_from_zero(planes, rows, start, middle, end, all_alive, lanes, depth)
            else:
                counter, alive = count(planes, rows, start, middle, end, begun(value, lanes), all_alive, lanes, depth)
            keep(out, at, counter, alive, lanes, depth)


@inlined
def vote(out, words, alive, sums, sum_step, votes, vote_step, width, depth, group):
    """For each 1 of a word: what its counter is worth, times a row of votes, to a row of sums.

    `out` is where that word of the lowest plane lies, `words` how far the next plane is. Rows of sums and of votes are a step apart
    from place to place: sums are where places are images, votes where they are clauses; the other step is 0.
    """
    while alive != 0:
        place = lowest(alive)
        alive &= alive - 1
        worth = np.int64(1) << len(depth)
        for d in range(len(depth)):
            worth -= (number(out, d * words) >> place & 1) << d
        for k in range(0, width, (1 << len(group))):
            add_votes(sums, place * sum_step + k, votes, place * vote_step + k, np.int32(worth), group)


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
                    for j in range(first, last):
                        counter = out + 8 * ((j - first) * (len(depth) + 1) * words + w)
                        alive = number(counter, len(depth) * words) & known
                        row = votes + 4 * j * outputs
                        vote(counter, words, alive, of_word, outputs, row, 0, outputs, depth, group)
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
                found[here, self.plan.order] = (worth * spread[:, depth]).T[: here.stop - here.start]
        return found


def grouped_votes(clauses: ClauseSet, plan: Plan) -> tuple[np.ndarray, tuple[int, ...]]:
    """(c, K') int32 votes in the plan's order, padded to a multiple of 2^n, and n zeros: so many are added at once."""
    group = 16 if clauses.outputs > 8 else 8
    votes = np.zeros((len(plan.order), -(-clauses.outputs // group) * group), np.int32)
    votes[:, : clauses.outputs] = clauses.votes[plan.order]
    return votes, (0,) * (group.bit_length() - 1)
