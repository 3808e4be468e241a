"""The intermediate form of every clause student: lists of literals, whole-number votes, nothing else.

Shapes: B rows, F bits, C clauses, K outputs, N literals of all clauses together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillhouse.core.checks import InputError

WIDEST_SCORE = 2**30


@dataclass(frozen=True, eq=False, slots=True)
class ClauseSet:
    """C fuzzy clauses over F bits, and what each adds to K scores.

    Clause j is worth `max(0, capacity_j - misses_j)`, where misses are its literals that are false. Everything is a whole
    number, so every kernel gives the same scores to the bit, in whatever order it adds.

    Attributes:
        bits: F.
        starts: (C + 1) int64; clause j has the literals `literals[starts[j]:starts[j + 1]]`.
        literals: (N) int32, ascending in a clause: f asks for bit f to be 1, F + f asks for bit f to be 0.
        capacity: (C) int32, at least 0: a clause without a miss; at most LF, the literal failures.
        votes: (C, K) int32 that one unit of a clause adds to each score.
        bias: (K) int64.
        scale: scores divided by this are the network's outputs.

    Example:
        The clause "bit 0 and not bit 1", LF 1, worth 3:

        >>> one = ClauseSet.of([[0, 3]], bits=2, capacity=[1], votes=[[3]])
        >>> one.scores(np.array([[1, 0], [1, 1]], dtype=bool)).tolist()
        [[3], [0]]

    Source: Hnilov 2025, "Fuzzy-Pattern Tsetlin Machine", arXiv:2508.08350.
    """

    bits: int
    starts: np.ndarray
    literals: np.ndarray
    capacity: np.ndarray
    votes: np.ndarray
    bias: np.ndarray
    scale: float = 1.0

    @classmethod
    def of(
        cls,
        clauses: Sequence[Sequence[int] | np.ndarray],
        *,
        bits: int,
        capacity: Sequence[int] | np.ndarray,
        votes: Sequence[Sequence[int]] | np.ndarray,
        bias: Sequence[int] | np.ndarray | None = None,
        scale: float = 1.0,
    ) -> ClauseSet:
        """From a list of literals a clause; checked."""
        lengths = [len(clause) for clause in clauses]
        table = np.asarray(votes, dtype=np.int32)
        made = cls(
            bits=bits,
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            literals=np.array([f for clause in clauses for f in sorted(clause)], dtype=np.int32),
            capacity=np.asarray(capacity, dtype=np.int32),
            votes=table,
            bias=np.zeros(table.shape[1], dtype=np.int64) if bias is None else np.asarray(bias, dtype=np.int64),
            scale=scale,
        )
        made.check()
        return made

    @property
    def num_clauses(self) -> int:
        """C."""
        return len(self.capacity)

    @property
    def outputs(self) -> int:
        """K."""
        return int(self.votes.shape[1])

    @property
    def failures(self) -> int:
        """The largest capacity: how far a counter of misses has to count."""
        return int(self.capacity.max(initial=0))

    def clause(self, number: int | np.integer) -> np.ndarray:
        """The literals of one clause."""
        return self.literals[self.starts[number] : self.starts[number + 1]]

    def check(self) -> None:
        """Whether the parts fit each other; anything read from a file is checked so.

        Raises:
            InputError: what was expected and what came.
        """
        count, starts, literals = self.num_clauses, self.starts, self.literals
        if (
            self.bits < 1
            or (starts.shape, self.votes.shape) != ((count + 1,), (count, len(self.bias)))
            or (starts[0], starts[-1]) != (0, len(literals))
            or (np.diff(starts) < 0).any()
        ):
            raise InputError("clauses: expected bits, starts, literals, capacities, votes and bias that fit each other")
        owner = np.repeat(np.arange(count), np.diff(starts))
        within = (literals >= 0) & (literals < 2 * self.bits)
        if not within.all() or (np.diff(owner * 2 * self.bits + literals) <= 0).any():
            raise InputError(f"clauses: expected literals in 0 .. {2 * self.bits - 1} that rise within a clause")
        if (self.capacity < 0).any() or not 0 < self.scale < np.inf or self.widest() >= 2**31:
            raise InputError("clauses: expected capacities of at least 0, a positive scale and scores within 31 bits")

    def widest(self) -> int:
        """The largest score, without its sign, that any input could give."""
        reach = np.abs(self.votes.astype(np.int64)).T @ self.capacity.astype(np.int64) + np.abs(self.bias)
        return int(reach.max(initial=0))

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """(C, F) truth values: which bits a clause wants to be 1, and which to be 0."""
        masks = np.zeros((self.num_clauses, 2 * self.bits), dtype=bool)
        masks[np.repeat(np.arange(self.num_clauses), np.diff(self.starts)), self.literals] = True
        return masks[:, : self.bits], masks[:, self.bits :]

    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F): the definition, written as plainly as it can be; kernels are held against it."""
        if bits.ndim != 2 or bits.shape[1] != self.bits:
            raise InputError(f"bits: expected (rows, {self.bits}), got {bits.shape}")
        wanted, unwanted = self.dense()
        on = bits.astype(bool)
        misses = (~on).astype(np.float32) @ wanted.T.astype(np.float32)  # whole numbers below 2^24: exact
        misses += on.astype(np.float32) @ unwanted.T.astype(np.float32)
        return np.maximum(self.capacity - misses.astype(np.int64), 0).astype(np.int32)

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F)."""
        worth = self.values(bits).astype(np.int64) @ self.votes.astype(np.int64)
        return np.asarray(worth + self.bias)


def whole_votes(votes: np.ndarray, bias: np.ndarray, capacity: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Votes and bias as whole numbers, with as many bits as 31-bit scores leave.

    Args:
        votes: (C, K) float, what one unit of a clause adds (a strength's vote divided by LF).
        bias: (K) float.
        capacity: (C).

    Returns:
        votes (C, K) int32, bias (K) int64, and the scale, a power of two. A score is off by at most
        `(sum of capacities + 1) / (2 scale)`.

    Raises:
        InputError: NaN or infinite votes.

    Example:
        >>> votes, bias, scale = whole_votes(np.array([[0.5]]), np.array([0.25]), np.array([1]))
        >>> (votes / scale).item(), (bias / scale).item()
        (0.5, 0.25)
    """
    if not (np.isfinite(votes).all() and np.isfinite(bias).all()):
        raise InputError("votes: expected finite numbers, got NaN or infinity")
    reach = (np.abs(votes).T @ capacity.astype(np.float64) + np.abs(bias)).max(initial=0.0)
    reach += 0.0 if reach else 1.0
    scale = 2.0 ** min(np.floor(np.log2((WIDEST_SCORE - capacity.sum() - 1) / reach)), 40)
    return np.rint(votes * scale).astype(np.int32), np.rint(bias * scale).astype(np.int64), float(scale)
