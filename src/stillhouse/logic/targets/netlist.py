"""Clauses as gates: misses counted by adders that saturate, values in binary, votes shifted and added, the largest score.

The misses of a clause are added into a counter that starts at `2^k - capacity`: a carry out of its k bits says that the
capacity is used up, and without one the value is `2^k - counter`. Votes are written with digits -1, 0, 1 (no two neighbours
both used); a bit times -2^i is its inverse times 2^i, less the constant 2^i. So every sum is one of bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.passes.pairs import common_pairs
from stillhouse.logic.targets.gates import FALSE, TRUE, Gates


@dataclass(frozen=True, slots=True)
class Netlist:
    """Three stages of gates, each reading the one before.

    Attributes:
        clauses: gates over the bits.
        values: of each clause, the bits of its value, lowest first: signals of `clauses`, the inputs of `votes` in this order.
        votes: gates over the values.
        counters: of each clause, the bits of its counter, and the carries out of them: what a proof starts from.
        scores: of each output, the bits of its score in two's complement: signals of `votes`, the inputs of `order`.
        order: gates over the scores.
        best: the bits of the number of the largest score, the first of equal ones; empty where nobody asked.
    """

    clauses: Gates
    values: list[list[int]]
    counters: list[tuple[list[int], list[int]]]
    votes: Gates
    scores: list[list[int]]
    order: Gates
    best: list[int]

    def size(self) -> dict[str, int]:
        """How many gates, and how many of them one after another."""
        stages = ((self.clauses, self.values), (self.votes, self.scores), (self.order, [self.best]))
        return {
            "gates": sum(len(gates.used(s for signals in ends for s in signals)) for gates, ends in stages),
            "depth": sum(max((g.depth[s >> 1] for signals in ends for s in signals), default=0) for g, ends in stages),
        }


def build(clauses: ClauseSet, *, classes: bool = True, pairs: bool = True) -> Netlist:
    """The gates of `clauses`.

    Args:
        clauses: what to compile.
        classes: whether to say which score is largest, too.
        pairs: whether pairs of literals that clauses have in common are added once.
    """
    bits, made = clause_values(clauses, pairs=pairs)
    values, counters = [value for value, _ in made], [counter for _, counter in made]
    votes = Gates(sum(map(len, values)))
    planes, number = [], 0
    for signals in values:
        planes.append([s if s <= TRUE else votes.input(number + i) for i, s in enumerate(signals)])
        number += len(signals)
    scores = [score(votes, clauses, k, planes) for k in range(clauses.outputs)]
    width = score_bits(clauses)
    order = Gates(clauses.outputs * width)
    words = [[order.input(k * width + i) for i in range(width)] for k in range(clauses.outputs)]
    return Netlist(bits, values, counters, votes, scores, order, argmax(order, words) if classes else [])


def clause_values(
    clauses: ClauseSet, *, pairs: bool = True
) -> tuple[Gates, list[tuple[list[int], tuple[list[int], list[int]]]]]:
    """The gates of all values, and of each clause what `clause_value` gives."""
    bits = Gates(clauses.bits)
    plan = common_pairs(clauses) if pairs else None
    shared = [plan.pairs[own].tolist() if plan else [] for own in (plan.of_clause if plan else clauses.capacity)]
    return bits, [clause_value(bits, clauses, j, shared[j]) for j in range(clauses.num_clauses)]


def clause_value(
    gates: Gates, clauses: ClauseSet, number: int, pairs: list[list[int]]
) -> tuple[list[int], tuple[list[int], list[int]]]:
    """The bits of `max(0, capacity - misses)`; the counter's bits and the carries out of them."""
    capacity = int(clauses.capacity[number])
    width = max(capacity - 1, 0).bit_length()
    if not capacity:
        return [], ([], [])
    own = clauses.clause(number).tolist()
    pairs = pairs[: len(own) // (3 if width else 2)]  # where misses are counted, each goes with a literal of no pair
    paired = {literal for pair in pairs for literal in pair}
    columns: list[list[int]] = [[] for _ in range(width + 2)]
    columns[0] = [miss(gates, literal) for literal in own if literal not in paired]
    for a, b in ((miss(gates, a), miss(gates, b)) for a, b in pairs):
        if not width:  # one miss is too many already
            columns[0].append(gates.disj(a, b))
        else:  # of an adder's five gates two are about a and b alone
            kept, carry = gates.add(a, b, columns[0].pop(0) if columns[0] else FALSE)
            columns[0].append(kept)
            columns[1].append(carry)
    head_start = 2**width - capacity
    for i in range(width):
        columns[i] += [TRUE] * (head_start >> i & 1)
    counter, over = gates.total(columns, width)
    alive = gates.any_of(over) ^ 1
    if not width:  # of pairs, too, each literal on its own is a miss that is too many
        over = [miss(gates, literal) for literal in own]
    left, lower = [], FALSE  # 2^width - counter: inverted above the lowest 1
    for bit in counter:
        left.append(gates.xor(bit, lower))
        lower = gates.disj(bit, lower)
    if not head_start:
        left.append(lower ^ 1)
    return [gates.conj(alive, bit) for bit in left], (counter, over)


def miss(gates: Gates, literal: int) -> int:
    """The signal that is 1 where a literal is false."""
    return gates.input(int(literal)) ^ 1 if literal < gates.inputs else gates.input(int(literal) - gates.inputs)


def score(gates: Gates, clauses: ClauseSet, output: int, values: list[list[int]]) -> list[int]:
    """The bits of one score."""
    width = score_bits(clauses)
    columns: list[list[int]] = [[] for _ in range(width)]
    constant = int(clauses.bias[output])
    for vote, bits in zip(clauses.votes[:, output].tolist(), values):
        for shift, digit in signed_digits(vote):
            for i, bit in enumerate(bits, start=shift):
                if i >= width:  # only a bit that is never 1 weighs so much
                    continue
                columns[i].append(bit if digit > 0 else bit ^ 1)
                constant -= 2**i if digit < 0 else 0
    for i in range(width):
        columns[i] += [TRUE] * (constant >> i & 1)
    return gates.total(columns, width)[0]


def score_bits(clauses: ClauseSet) -> int:
    """How wide scores are, with their sign."""
    return clauses.widest().bit_length() + 1


def signed_digits(number: int) -> Iterator[tuple[int, int]]:
    """The digits 1 and -1 of a whole number, with their places; as few as there can be.

    Example:
        >>> list(signed_digits(7)), list(signed_digits(-3))
        ([(0, -1), (3, 1)], [(0, 1), (2, -1)])
    """
    place = 0
    while number:
        if number & 1:
            digit = 2 - (number & 3)
            number -= digit
            yield place, digit
        number >>= 1
        place += 1


def argmax(gates: Gates, scores: list[list[int]]) -> list[int]:
    """The bits of the number of the largest score; the first of equal ones wins. Each pair of scores is compared at once."""
    count = len(scores)
    beaten = {(i, j): gates.less(scores[i], scores[j]) for j in range(count) for i in range(j)}
    first = [
        gates.all_of([beaten[i, k] for i in range(k)] + [beaten[k, j] ^ 1 for j in range(k + 1, count)])
        for k in range(count)
    ]
    return [gates.any_of([first[k] for k in range(count) if k >> i & 1]) for i in range((count - 1).bit_length())]


def fewer_vote_bits(clauses: ClauseSet, bits: int) -> ClauseSet:
    """The same clauses with votes rounded to `bits` bits, sign included: smaller adders, and answers that may change.

    Example:
        >>> coarse = fewer_vote_bits(ClauseSet.of([[0], [1]], bits=2, capacity=[1, 1], votes=[[1000], [-250]]), 4)
        >>> coarse.votes.tolist(), coarse.scale
        ([[7], [-2]], 0.007)
    """
    if not 2 <= bits <= 31:
        raise InputError(f"vote bits (--vote-bits): expected 2 to 31, got {bits}")
    largest = int(np.abs(clauses.votes.astype(np.int64)).max(initial=0))
    if largest < 2 ** (bits - 1):
        return clauses
    factor = (2 ** (bits - 1) - 1) / largest
    return replace(
        clauses,
        votes=np.rint(clauses.votes * factor).astype(np.int32),
        bias=np.rint(clauses.bias * factor).astype(np.int64),
        scale=clauses.scale * factor,
    )


def share_changed(before: ClauseSet, after: ClauseSet, bits: np.ndarray) -> float:
    """The share of rows (B, F) that get another class."""
    return float((before.scores(bits).argmax(1) != after.scores(bits).argmax(1)).mean())
