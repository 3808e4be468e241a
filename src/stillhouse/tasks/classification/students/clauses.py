"""A bank of fuzzy pattern clauses: soft ANDs over bits, trained by gradient, exact as bit operations.

Shapes: ... any leading axes, F bits (2F literals: each bit and its negation), C clauses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.hooks import Clauses
from stillhouse.layers.straight_through import hard_include, revivable_relu
from stillhouse.tasks.classification.students.config import ClauseOptions


class Tau(nn.Module):
    """tau in (0, 1), kept in the state dict, so that a learned one reloads exactly.

    A learned tau is `low + (high - low) sigmoid(a)`. Its gradient comes from the masks `1[p > tau]`, whose surrogate is
    `p - tau`: raising tau excludes literals. With `ema` the masks use a moving average over training steps
    (`advance` takes one step), and the gradient still goes to tau itself.

    Args:
        value: tau at the start.
        learnable: whether it is a parameter.
        low: lower bound of a learned tau.
        high: upper bound of a learned tau.
        ema: memory of the average, in (0, 1); None for no average.

    Example:
        >>> tau = Tau(0.5, ema=0.9)
        >>> _ = tau.value.fill_(0.6); tau.advance(); round(tau().item(), 4)
        0.51
    """

    def __init__(
        self, value: float, *, learnable: bool = False, low: float = 0.05, high: float = 0.95, ema: float | None = None
    ) -> None:
        super().__init__()
        if not 0.0 < value < 1.0:
            raise InputError(f"tau: expected a number in (0, 1), got {value}")
        self.start, self.low, self.high, self.ema = value, low, high, ema
        self.value: Tensor
        self.average: Tensor
        self.raw = nn.Parameter(torch.tensor(self._unbounded(value))) if learnable else None
        if not learnable:
            self.register_buffer("value", torch.tensor(value))
        if ema is not None:
            self.register_buffer("average", torch.tensor(value))

    def now(self) -> Tensor:
        """0-d: tau of this step, before any average."""
        if self.raw is None:
            return self.value
        return self.low + (self.high - self.low) * torch.sigmoid(self.raw)

    def forward(self) -> Tensor:
        """0-d: what masks are compared with; its gradient is that of `now`."""
        now = self.now()
        return now if self.ema is None else self.average + (now - now.detach())

    @torch.no_grad()
    def advance(self) -> None:
        """One step of the average; a model calls it once a training step."""
        if self.ema is not None:
            self.average.lerp_(self.now(), 1 - self.ema)

    def _unbounded(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        share = min(max(share, 1e-4), 1 - 1e-4)
        return math.log(share / (1 - share))


class ClauseBank(Clauses):
    """Fuzzy capacity clauses: `c_j = relu(min(n_j, LF) - misses_j) / LF`, with hard literals.

    Clause j includes some of the 2F literals (`include_logits`, hard masks by a straight-through estimator). `n_j` counts
    them, `misses_j` counts those that are false for an input, `LF` (literal failures) is how many misses silence the
    clause. LF = 1 is the ordinary all-or-nothing AND; LF at or above n_j would make the clause linear in the bits and
    useless beside attention, which is why clauses start with about three times LF literals.

    One matrix product evaluates the bank: misses = sum(m) - x (m - n)^T for positive masks m and negated masks n.

    Args:
        num_bits: F.
        num_clauses: C.
        options: the rule (see its fields).

    Attributes:
        include_logits: (2, C, F) parameter; [0] the literals x, [1] the literals not x.

    Example:
        A clause "bit 0 and not bit 1" with LF 1:

        >>> bank = ClauseBank(num_bits=2, num_clauses=2, options=ClauseOptions(failures=1))
        >>> with torch.no_grad():
        ...     _ = bank.include_logits.fill_(-5.0)
        ...     bank.include_logits[0, 0, 0] = bank.include_logits[1, 0, 1] = 5.0
        >>> bank(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))[:, 0].tolist()
        [1.0, 0.0, 0.0]

    Source: Hnilov 2025, "Fuzzy-Pattern Tsetlin Machine", arXiv:2508.08350.
    """

    def __init__(self, num_bits: int, num_clauses: int, options: ClauseOptions | None = None) -> None:
        super().__init__()
        if num_clauses < 1:
            raise InputError(f"clauses: expected at least 1, got {num_clauses}")
        options = options or ClauseOptions()
        self.num_bits, self.num_clauses = num_bits, num_clauses
        self.failures, self.leak = options.failures, options.leak
        self.literals = options.literals_at_start
        self.literal_dropout, self.literal_budget = options.literal_dropout, options.literal_budget
        low, high = options.tau_min, options.tau_max
        self.threshold = Tau(options.tau, learnable=options.learnable_tau, low=low, high=high, ema=options.tau_ema)
        self.include_logits = nn.Parameter(torch.empty(2, num_clauses, num_bits))
        self.reset_parameters(self.literals)

    def reset_parameters(self, literals: float, spread: float = 0.5) -> None:
        """Normal include logits whose mean puts `literals` of the 2F literals of a clause (at most 90 %) above the threshold."""
        share = min(literals / (2 * self.num_bits), 0.9)
        quantile = float(2**0.5 * torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64, device="cpu")))
        level = float(torch.logit(torch.tensor(self.threshold.start, device="cpu")))
        nn.init.normal_(self.include_logits, mean=level + spread * quantile, std=spread)

    def masks(self) -> tuple[Tensor, Tensor]:
        """The hard include masks, (C, F) each: of the literals x and of the literals not x."""
        include = hard_include(self.include_logits, self.threshold())
        if self.literal_budget is not None:
            include = include * self._within_budget(self.literal_budget)
        if self.training and self.literal_dropout > 0:
            kept = torch.rand(2, 1, self.num_bits, device=include.device) >= self.literal_dropout
            include = include * kept
        positive, negated = include.unbind(0)  # one gradient for both: indexing twice would make two, mostly zeros
        return positive, negated

    def _within_budget(self, budget: int) -> Tensor:
        """(2, C, F) of 0 and 1: the `budget` literals of each clause with the largest logits."""
        flat = self.include_logits.detach().transpose(0, 1).flatten(1)  # (C, 2F)
        chosen = flat.topk(min(budget, flat.shape[1]), dim=1).indices
        kept = torch.zeros_like(flat).scatter_(1, chosen, 1.0)
        return kept.unflatten(1, (2, self.num_bits)).transpose(0, 1)

    def capacity(self, positive: Tensor, negated: Tensor) -> Tensor:
        """(C) the value of a clause without a miss, before division by LF: min(n, LF)."""
        count = positive.sum(1) + negated.sum(1)
        return count.clamp(max=float(self.failures))

    def forward(self, bits: Tensor) -> Tensor:
        """Strength of every clause for bits (..., F) of 0 and 1.

        Returns:
            (..., C) in {0, 1/LF, ..., 1}.
        """
        if bits.shape[-1] != self.num_bits:
            raise InputError(f"bits: expected (..., {self.num_bits}), got {tuple(bits.shape)}")
        positive, negated = self.masks()
        capacity = self.capacity(positive, negated)
        # under autocast the product runs in bf16: bits and masks are exact there, and so are counts up to 256
        hits = nn.functional.linear(bits, positive - negated)
        # an all-zero input misses every positive literal
        return revivable_relu(hits + (capacity - positive.sum(1)), self.leak) / self.failures
