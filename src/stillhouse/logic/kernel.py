"""Bit-sliced clauses: a word holds one bit of 64 rows, counters of misses are planes of such words, votes are added at once.

Kernels work on addresses and on vectors of W words, which LLVM keeps in SIMD registers; `lanes` is a tuple of log2 W zeros, whose
length numba knows when it compiles.

Shapes: B rows, P values a row, L levels, F = L P bits, W words of a block (64 W rows), C clauses, K outputs, k bits of a counter.
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
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from stillhouse.logic.clause_set import ClauseSet

WORD = ir.IntType(64)
WIDE, CHUNK = 8, 32  # words; clauses whose planes wait, in the nearest cache, for their votes to be added
UNIT = 8  # literals added at a time
FEWEST = 8  # blocks of a thread: fewer take less time than it takes to start one
compiled: Any = njit(nogil=True, cache=True, boundscheck=False)
inlined: Any = njit(nogil=True, boundscheck=False, inline="always")
Codegen = Callable[..., Any]


class Words(types.Type):
    """A vector of so many words."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Words({lanes})")


@register_model(Words)
class WordsModel(models.PrimitiveModel):
    """Held as a vector of LLVM."""

    def __init__(self, dmm: Any, fe_type: Words) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(WORD, fe_type.lanes))


def _place(builder: Any, base: Any, index: Any, kind: Any, element: Any = WORD) -> Any:
    """The address of element `index` behind `base`, as one of another kind."""
    first = builder.inttoptr(base, element.as_pointer())
    return builder.bitcast(builder.gep(first, [index]), kind.as_pointer())


def _repeated(builder: Any, value: Any, lanes: int) -> Any:
    """One number in every lane."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


@intrinsic
def number(typingctx: Any, base: Any, index: Any) -> tuple[Any, Codegen]:
    """One int64 behind an address: numba would look for negative indices of an array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, args[0], args[1], WORD))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def load(typingctx: Any, base: Any, index: Any, lanes: Any) -> tuple[Any, Codegen]:
    """W words behind an address, from an index on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(WORD, signature.return_type.lanes)
        value = builder.load(_place(builder, args[0], args[1], vector))
        value.align = 8
        return value

    return Words(1 << lanes.count)(types.int64, types.int64, lanes), codegen


@intrinsic
def row(typingctx: Any, planes: Any, rows: Any, index: Any, lanes: Any) -> tuple[Any, Codegen]:
    """W words of a plane, whose place an int32 behind `rows` names."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        short, vector = ir.IntType(32), ir.VectorType(WORD, signature.return_type.lanes)
        place = builder.sext(builder.load(_place(builder, args[1], args[2], short, short)), WORD)
        value = builder.load(_place(builder, args[0], place, vector))
        value.align = 8
        return value

    return Words(1 << lanes.count)(types.int64, types.int64, types.int64, lanes), codegen


@intrinsic
def store(typingctx: Any, base: Any, index: Any, words: Any) -> tuple[Any, Codegen]:
    """Write W words behind an address, from an index on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(WORD, words.lanes)
        builder.store(args[2], _place(builder, args[0], args[1], vector)).align = 8
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, words), codegen


@intrinsic
def fill(typingctx: Any, value: Any, lanes: Any) -> tuple[Any, Codegen]:
    """The same word in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _repeated(builder, args[0], signature.return_type.lanes)

    return Words(1 << lanes.count)(types.int64, lanes), codegen


@intrinsic
def all_zeros(typingctx: Any, a: Any) -> tuple[Any, Codegen]:
    """Whether every bit is 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(64 * args[0].type.count)
        return builder.icmp_unsigned("==", builder.bitcast(args[0], whole), ir.Constant(whole, 0))

    return types.boolean(a), codegen


@intrinsic
def lowest(typingctx: Any, word: Any) -> tuple[Any, Codegen]:
    """The place of the lowest 1 in a word that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@intrinsic
def add_votes(typingctx: Any, sums: Any, votes: Any, value: Any, lanes: Any) -> tuple[Any, Codegen]:
    """`sums[:n] += value * votes[:n]` of int32 behind addresses, n = 2^length of `lanes`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), 1 << lanes.count)
        to = builder.inttoptr(args[0], vector.as_pointer())
        before, vote = builder.load(to), builder.load(builder.inttoptr(args[1], vector.as_pointer()))
        before.align = vote.align = 4
        builder.store(builder.add(before, builder.mul(vote, _repeated(builder, args[2], vector.count))), to).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int32, lanes), codegen


@intrinsic
def at_least(typingctx: Any, base: Any, cut: Any) -> tuple[Any, Codegen]:
    """A word that says of 64 bytes behind an address which are at least a number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(builder.inttoptr(args[0], ir.VectorType(ir.IntType(8), 64).as_pointer()))
        found.align = 1
        return builder.bitcast(builder.icmp_unsigned(">=", found, _repeated(builder, args[1], 64)), WORD)

    return types.int64(types.int64, types.uint8), codegen


def _of_two(name: str) -> Any:
    """A function of two vectors, or of a vector and the same number for every lane."""

    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            second = args[1] if isinstance(b, Words) else _repeated(builder, args[1], a.lanes)
            return getattr(builder, name)(args[0], second)

        return a(a, b), codegen

    return operation


both, differ, left, right = _of_two("and_"), _of_two("xor"), _of_two("shl"), _of_two("lshr")


def _bitwise(function: Callable[..., int], plain: Callable[..., Any]) -> Any:
    """A function of three words: one instruction with AVX-512, else as written."""
    table = sum(function(i >> 2 & 1, i >> 1 & 1, i & 1) << i for i in range(8))

    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Any, Codegen]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = args[0].type
            if vector.count < 4 or "+avx512vl" not in context.codegen()._get_host_cpu_features():
                return plain(builder, *args)
            kind = ir.FunctionType(vector, [vector, vector, vector, ir.IntType(32)])
            name = f"llvm.x86.avx512.pternlog.q.{64 * vector.count}"
            ternary = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(ternary, [*args, ir.Constant(ir.IntType(32), table)])

        return a(a, a, a), codegen

    return operation


total = _bitwise(lambda a, b, c: a ^ b ^ c, lambda q, a, b, c: q.xor(q.xor(a, b), c))
carry = _bitwise(lambda a, b, c: int(a + b + c > 1), lambda q, a, b, c: q.xor(b, q.and_(q.xor(a, b), q.xor(b, c))))
any_of = _bitwise(lambda a, b, c: a | b | c, lambda q, a, b, c: q.or_(q.or_(a, b), c))
but_not = _bitwise(lambda a, b, c: a & (1 - b) & (1 - c), lambda q, a, b, c: q.and_(a, q.not_(q.or_(b, c))))


@inlined
def add_eight(ones, twos, fours, planes, rows, i, lanes):
    """Seven full adders: eight planes into a counter of three bits, and what is carried out of it."""
    a, b, c = row(planes, rows, i, lanes), row(planes, rows, i + 1, lanes), row(planes, rows, i + 2, lanes)
    d, e, f = row(planes, rows, i + 3, lanes), row(planes, rows, i + 4, lanes), row(planes, rows, i + 5, lanes)
    g, h = row(planes, rows, i + 6, lanes), row(planes, rows, i + 7, lanes)
    first, ones = carry(ones, a, b), total(ones, a, b)
    second, ones = carry(ones, c, d), total(ones, c, d)
    low, twos = carry(twos, first, second), total(twos, first, second)
    first, ones = carry(ones, e, f), total(ones, e, f)
    second, ones = carry(ones, g, h), total(ones, g, h)
    high, twos = carry(twos, first, second), total(twos, first, second)
    return ones, twos, total(fours, low, high), carry(fours, low, high)


@inlined
def add_on(up, none, out, lanes, depth):
    """A carry of eight into the planes above the third, which lie in memory; what leaves the last one."""
    for d in range(3, len(depth)):
        plane = load(out, d << len(lanes), lanes)
        store(out, d << len(lanes), total(plane, up, none))
        up = carry(plane, up, none)
    return up


@inlined
def count(planes, rows, clause, out, lanes, depth):
    """Planes of a counter that begins at a value and adds a clause's misses, then where it has not run over, into `out`.

    A clause is its start, middle and end in `rows`, and the value. Up to the middle a literal misses where its plane has zeros:
    there everything is negated, which full adders do not mind.
    """
    start, middle, end, value = clause
    zeros, nots = fill(0, lanes), fill(-1, lanes)
    alive, i = nots, start
    ones, twos, fours = (
        fill((value & 1) - 1, lanes),
        fill((value >> 1 & 1) - 1, lanes),
        fill((value >> 2 & 1) - 1, lanes),
    )
    for d in range(3, len(depth)):
        store(out, d << len(lanes), fill((value >> d & 1) - 1, lanes))
    while i < middle:
        ones, twos, fours, up = add_eight(ones, twos, fours, planes, rows, i, lanes)
        alive = both(alive, add_on(up, nots, out, lanes, depth))
        i += 8
        if i & 8 and all_zeros(alive):
            i = end
    ones, twos, fours = differ(ones, nots), differ(twos, nots), differ(fours, nots)
    for d in range(3, len(depth)):
        store(out, d << len(lanes), differ(load(out, d << len(lanes), lanes), nots))
    while i < end:
        ones, twos, fours, up = add_eight(ones, twos, fours, planes, rows, i, lanes)
        alive = but_not(alive, add_on(up, zeros, out, lanes, depth), zeros)
        i += 8
        if i & 8 and all_zeros(alive):
            break
    store(out, 0, ones)
    store(out, 1 << len(lanes), twos)
    store(out, 2 << len(lanes), fours)
    store(out, len(depth) << len(lanes), alive)


@inlined
def silence(planes, rows, start, end, out, lanes):
    """Where no literal is false: clauses that one miss ends have no counter."""
    alive = fill(-1, lanes)
    i = start
    while i < end:
        a = any_of(row(planes, rows, i, lanes), row(planes, rows, i + 1, lanes), row(planes, rows, i + 2, lanes))
        b = any_of(row(planes, rows, i + 3, lanes), row(planes, rows, i + 4, lanes), row(planes, rows, i + 5, lanes))
        alive = but_not(but_not(alive, a, b), row(planes, rows, i + 6, lanes), row(planes, rows, i + 7, lanes))
        i += 8
        if all_zeros(alive):
            break
    store(out, 0, alive)


@inlined
def transpose(block, lanes):
    """In each lane, bit p of word i becomes bit i of word p: six rounds of exchanges (Warren, Hacker's Delight 7-3)."""
    words, distance, mask = 1 << len(lanes), np.int64(32), np.int64(0x00000000FFFFFFFF)
    while distance:
        for i in range(0, 64, 2 * distance):
            for j in range(i, i + distance):
                a, b = load(block, j * words, lanes), load(block, (j + distance) * words, lanes)
                moved = both(differ(right(a, distance), b), fill(mask, lanes))
                store(block, (j + distance) * words, differ(b, moved))
                store(block, j * words, differ(a, left(moved, distance)))
        distance >>= 1
        mask ^= mask << distance


@inlined
def to_planes(pixels, width, values, cuts, planes, block, lanes):
    """Bits of 64 W rows as planes, then their negations: 64 values of each row compared at a time, then transposed."""
    words, bits = 1 << len(lanes), values * len(cuts)
    for level in range(len(cuts)):
        for start in range(0, values, 64):
            begin = max(min(start, values - 64), 0)  # the last piece overlaps the one before
            for w in range(words):
                for r in range(64):
                    block[r * words + w] = at_least(pixels + (w * 64 + r) * width + begin, cuts[level])
            transpose(block.ctypes.data, lanes)
            for p in range(begin, min(begin + 64, values)):
                plane = load(block.ctypes.data, (p - begin) * words, lanes)
                store(planes, (level * values + p) * words, plane)
                store(planes, (bits + level * values + p) * words, differ(plane, fill(-1, lanes)))


@inlined
def vote(at, words, depth, known, sums, votes, width, group):
    """For each 1 of a word: what its counter is worth, times a row of votes, to its row of sums."""
    alive = number(at, len(depth) * words) & known
    while alive != 0:
        place = lowest(alive)
        alive &= alive - 1
        worth = np.int64(1) << len(depth)
        for d in range(len(depth)):
            worth -= (number(at, d * words) >> place & 1) << d
        k = np.int64(0)
        while k < width:  # a range with a step would be a division
            add_votes(sums + place * width + k, votes + k, np.int32(worth), group)
            k += 4 << len(group)


@compiled
def add_scores(pixels, values, cuts, plan, sums, space, lanes, sizes):
    """Add the votes of all clauses to the sums, 64 W rows at a time.

    Args:
        pixels: (B', at least 64) uint8, B' a multiple of 64 W.
        values: P of them that count.
        cuts: (L) uint8.
        plan: see `Kernel`: rows int32, starts (C + 1), middles (C), begin (C), votes (C, K') int32.
        sums: (B, K') int32.
        space: (2 F + 1, W) planes, the last zeros; (32 (k + 1) W) for the counters of some clauses; (64 W) for a transposition.
        lanes: log2 W zeros.
        sizes: k zeros, none where one miss ends every clause; n zeros where 2^n votes are added at once.
    """
    rows, starts, middles, begin, votes = plan
    (depth, group), (planes, kept, block) = sizes, space
    planes, rows = planes.ctypes.data, rows.ctypes.data
    words, out, width = 1 << len(lanes), kept.ctypes.data, 4 * sums.shape[1]
    start, middle, value = starts.ctypes.data, middles.ctypes.data, begin.ctypes.data
    for first in range(0, len(sums), 64 * words):
        to_planes(pixels.ctypes.data + first * pixels.shape[1], pixels.shape[1], values, cuts, planes, block, lanes)
        for chunk in range(0, len(begin), CHUNK):
            last = min(chunk + CHUNK, len(begin))
            for j in range(chunk, last):
                at = out + 8 * (j - chunk) * (len(depth) + 1) * words
                if len(depth) == 0:
                    silence(planes, rows, number(start, j), number(start, j + 1), at, lanes)
                else:
                    clause = number(start, j), number(middle, j), number(start, j + 1), number(value, j)
                    count(planes, rows, clause, at, lanes, depth)
            for w in range(words):
                here = min(max(len(sums) - first - 64 * w, 0), 64)
                known = np.int64(-1) if here == 64 else (np.int64(1) << here) - 1
                to = sums.ctypes.data + (first + 64 * w) * width
                for j in range(chunk, last):
                    at = out + 8 * ((j - chunk) * (len(depth) + 1) * words + w)
                    vote(at, words, depth, known, to, votes.ctypes.data + j * width, width, group)


def threads() -> int:
    """How many threads an evaluation may take: numba's number, OMP_NUM_THREADS and the cores of the process allow it."""
    found = numba.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        found = min(found, len(os.sched_getaffinity(0)))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(found, int(asked)) if asked.isdigit() and int(asked) else found)


class Kernel:
    """A clause set, ready to be evaluated in blocks of rows."""

    def __init__(self, clauses: ClauseSet) -> None:
        self.clauses = clauses
        self.depth = 0 if clauses.failures <= 1 else max(int(clauses.failures - 1).bit_length(), 3)
        alive = np.flatnonzero(clauses.capacity > 0)
        walks = {j: self._walk(clauses.clause(j)) for j in alive.tolist()}
        # alike beside alike: a processor foresees its branches
        order = sorted(walks, key=lambda j: (clauses.capacity[j], walks[j][1], len(walks[j][0])))
        self.begin = 2**self.depth - clauses.capacity[order].astype(np.int64)
        self.starts = np.cumsum([0, *(len(walks[j][0]) for j in order)])
        self.middles = self.starts[:-1] + np.array([walks[j][1] for j in order], np.int64)
        rows = np.concatenate([np.zeros(0, np.int32), *(walks[j][0] for j in order)]).astype(np.int32)
        self.rows = {words: rows * words for words in (1, WIDE)}
        width = 16 if clauses.outputs > 8 else 8
        self.group = (0,) * (width.bit_length() - 1)
        self.votes = np.zeros((len(order), -(-clauses.outputs // width) * width), np.int32)
        self.votes[:, : clauses.outputs] = clauses.votes[order]

    def _walk(self, literals: np.ndarray) -> tuple[np.ndarray, int]:
        """The planes that a clause reads, in eights, and up to where it wants them.

        Planes are the bits, their negations, and zeros to fill up with. Wanted bits are read as they are, so that a clause reads
        half of the memory; those beyond a multiple of eight are missed where their negations are.
        """
        bits = self.clauses.bits
        wanted, unwanted = literals[literals < bits], literals[literals >= bits] - bits
        whole = len(wanted) // UNIT * UNIT if self.depth else 0
        rest = np.concatenate([unwanted, wanted[whole:] + bits])
        return np.concatenate([wanted[:whole], rest, np.full(-len(rest) % UNIT, 2 * bits)]), whole

    def scores_of_pixels(self, pixels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """(B, K) int64 of values (B, P) uint8, a bit for each that is at least a cut (1 to 255), level by level."""
        words = WIDE if len(pixels) > 64 else 1
        (count, values), rows_of = pixels.shape, 64 * words
        padded = np.ascontiguousarray(pixels)
        if count % rows_of or values < 64:  # a block is read to its end
            padded = np.pad(pixels, [(0, -count % rows_of), (0, max(64 - values, 0))])
        sums = np.zeros((count, self.votes.shape[1]), np.int32)
        plan = self.rows[words], self.starts, self.middles, self.begin, self.votes

        def work(part: slice) -> None:
            planes, block = np.zeros((2 * self.clauses.bits + 1, words), np.int64), np.zeros(rows_of, np.int64)
            space = planes, np.zeros(CHUNK * (self.depth + 1) * words, np.int64), block
            lanes, sizes = (0,) * (words.bit_length() - 1), ((0,) * self.depth, self.group)
            add_scores(padded[part], values, cuts.astype(np.uint8), plan, sums[part], space, lanes, sizes)

        share = max(-(-len(padded) // (rows_of * threads())), FEWEST) * rows_of
        parts = [slice(i, i + share) for i in range(0, count, share)]
        if len(parts) > 1:
            with ThreadPoolExecutor(len(parts)) as pool:  # kernels release the interpreter
                list(pool.map(work, parts))
        elif parts:
            work(parts[0])
        return np.asarray(sums[:, : self.clauses.outputs] + self.clauses.bias)

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool."""
        return self.scores_of_pixels(bits.view(np.uint8), np.ones(1, np.int16))
