"""One image at a time: the words of a plane are clauses, and what is added are the literals that are false.

Of every bit one literal is false, so there are always F rows to add, whatever the image: the time is the same for all. Crisp
clauses are silenced by them. The counters are those of `numba_sliced`, turned round.

Shapes: F bits, c clauses, W words (64 W clauses a block), K outputs, k bits of a counter.
"""

from __future__ import annotations

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernels.numba_sliced import (
    ONE_BIT,
    compiled,
    count,
    grouped_votes,
    keep,
    unsilenced,
    vote,
    where,
    widest_words,
)
from stillhouse.logic.kernels.plan import Plan
from stillhouse.logic.kernels.words import address, byte, fill, load, number, short, store


@compiled
def row_scores(pixels, job, scores, lanes, depth, group):
    """Scores image by image.

    Args:
        pixels: (B, P) uint8, one after another in memory.
        job: int64 numbers: u, blocks, words of a block's table, K', then addresses of

            chosen (2, u) int32, of the bits that some clause reads: the place of the value, and its limit;
            tables (blocks, 2 u + 1, W), by bit: clauses that have the literal that is false where it is 0, where it is 1; zeros;
            begin (blocks, k + 1, W), planes in which counters begin; the last is ones where there is a clause;
            votes (c, K') int32; and of the bias (K) int64.
        scores: (B, K) int64.
        lanes: log2 W zeros.
        depth: k zeros.
        group: n zeros where 2^n votes are added at once.
    """
    bits, number_of, size, outputs = number(job, 0), number(job, 1), number(job, 2), number(job, 3)
    chosen, tables, begin, votes, bias = number(job, 4), number(job, 5), number(job, 6), number(job, 7), number(job, 8)
    words = 1 << len(lanes)
    padded = -(-bits // 8) * 8
    false, kept = np.full(padded, size - words, np.int32), np.empty((len(depth) + 1) * words, np.int64)
    sums = np.empty(outputs, np.int32)
    rows, out, to = address(false), address(kept), address(sums)
    for image in range(pixels.shape[0]):
        here = address(pixels) + image * pixels.shape[1]
        sums[:] = 0
        for u in range(bits):
            is_one = np.int64(byte(here, short(chosen, u)) > short(chosen, bits + u))
            false[u] = (2 * u + is_one) * words  # no branch: it would be foreseen half of the time
        for block in range(number_of):
            table, start = tables + 8 * block * size, begin + 8 * block * (len(depth) + 1) * words
            alive = load(start, len(depth) * words, lanes)
            if len(depth) == 0:
                store(out, 0, unsilenced(table, rows, 0, padded, alive, lanes))
            else:
                zero = fill(0, lanes)
                low = load(start, 0, lanes), load(start, words, lanes), load(start, 2 * words, lanes)
                a, b, c, d, e = zero, zero, zero, zero, zero
                if len(depth) > 3:
                    a = load(start, 3 * words, lanes)
                if len(depth) > 4:
                    b, c = load(start, 4 * words, lanes), load(start, 5 * words, lanes)
                if len(depth) > 6:
                    d, e = load(start, 6 * words, lanes), load(start, 7 * words, lanes)
                begun = low[0], low[1], low[2], (a, b, c, d, e)
                counter, alive = count(table, rows, 0, 0, padded, begun, alive, lanes, depth)
                keep(out, 0, counter, alive, lanes, depth)
            for w in range(words):
                own = votes + 4 * 64 * (block * words + w) * outputs
                vote(out + 8 * w, words, number(out, len(depth) * words + w), to, 0, own, outputs, outputs, depth, group)
        for k in range(scores.shape[1]):
            scores[image, k] = sums[k] + number(bias, k)
    return false.size + kept.size  # numba frees an array after its last use: not before here


class NumbaRow:
    """A clause set for one image, or a few.

    Args:
        clauses: the set.
        words: W; None for what this CPU keeps in one register.
    """

    def __init__(self, clauses: ClauseSet, words: int | None = None) -> None:
        self.clauses, self.plan = clauses, Plan.of(clauses)
        self.words = words or widest_words()
        self.lanes = (0,) * (self.words.bit_length() - 1)
        self.depth = (0,) * self.plan.depth
        self.votes, self.group = grouped_votes(clauses, self.plan)
        w, count_of = self.words, len(self.plan.order)
        self.blocks = -(-count_of // (64 * w))
        wanted, unwanted = (side[self.plan.order] for side in clauses.dense())
        self.used = np.flatnonzero(wanted.any(0) | unwanted.any(0)) if count_of else np.zeros(0, np.int64)
        # both rows of a bit side by side: one of them is read, in the order in which memory is fetched ahead
        rows = np.stack([wanted[:, self.used].T, unwanted[:, self.used].T], axis=1).reshape(-1, count_of)
        table = np.zeros((len(rows) + 1, self.blocks * 64 * w), dtype=bool)
        table[:-1, :count_of] = rows
        self.tables = np.ascontiguousarray(_words(table).reshape(len(table), self.blocks, w).transpose(1, 0, 2))
        begin = np.zeros((self.plan.depth + 1, self.blocks * 64 * w), dtype=bool)
        begin[:-1, :count_of] = self.plan.begin >> np.arange(self.plan.depth)[:, None] & 1
        begin[-1, :count_of] = True
        shape = (self.plan.depth + 1, self.blocks, w)
        self.begin = np.ascontiguousarray(_words(begin).reshape(shape).transpose(1, 0, 2))
        self.limits, self.bias, self.at = b"", np.ascontiguousarray(clauses.bias, np.int64), 0

    def prepare(self, values: int, cuts: np.ndarray) -> None:
        """What to look at in an image of so many values; kept until other cuts come."""
        if values * len(cuts) != self.clauses.bits:
            raise InputError(f"pixels: expected {self.clauses.bits} bits a row, got {values} x {len(cuts)}")
        limits = cuts.astype(np.int64)[self.used // values] - 1
        self.chosen = np.ascontiguousarray(np.stack([self.used % values, limits]), dtype=np.int32)
        sizes = len(self.used), self.blocks, self.tables[0].size if self.blocks else 0, self.votes.shape[1]
        parts = (self.chosen, self.tables, self.begin, self.votes, self.bias)
        self.job = np.array([*sizes, *map(where, parts)], np.int64)
        self.at = where(self.job)
        self.limits = cuts.tobytes()

    def scores_of_pixels(self, pixels: np.ndarray, cuts: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of values (B, P) uint8, a bit for each that is at least a cut, level by level; one thread."""
        if self.limits != cuts.tobytes():
            self.prepare(pixels.shape[1], cuts)
        if not (pixels.flags.c_contiguous and pixels.flags.writeable):  # one type of array, compiled once
            pixels = pixels.copy()
        scores = np.empty((len(pixels), self.clauses.outputs), np.int64)
        row_scores(pixels, self.at, scores, self.lanes, self.depth, self.group)
        return scores

    def scores(self, bits: np.ndarray, parallel: bool = True) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1."""
        return self.scores_of_pixels(bits.astype(bool, copy=False).view(np.uint8), ONE_BIT, parallel)


def _words(bits: np.ndarray) -> np.ndarray:
    """(..., 64 n) truth values as (..., n) int64, the first in the lowest place."""
    return np.packbits(bits, axis=-1, bitorder="little").view("<i8").astype(np.int64)
