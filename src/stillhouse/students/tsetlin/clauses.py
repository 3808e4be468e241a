"""A bank of fuzzy pattern clauses: soft ANDs over bits, trained by gradient, exact as bit operations.

Shapes: ... any leading axes, F bits (2F literals: each bit and its negation), C clauses, D outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.checks import InputError
from stillhouse.layers.straight_through import hard_include, revivable_relu


class ClauseBank(nn.Module):
    """Fuzzy capacity clauses: `c_j = relu(min(n_j, LF) - misses_j) / LF`, with hard literals.

    Clause j includes some of the 2F literals (`include_logits`, hard masks by a straight-through estimator). `n_j` counts
    them, `misses_j` counts those that are false for an input, `LF` (literal failures) is how many misses silence the
    clause. LF = 1 is the ordinary all-or-nothing AND; LF at or above n_j would make the clause linear in the bits and
    useless beside attention, which is why clauses start with about three times LF literals.

    One matrix product evaluates the bank: misses = sum(m) - x (m - n)^T for positive masks m and negated masks n.

    Args:
        num_bits: F.
        num_clauses: C.
        failures: LF, at least 1.
        tau: include threshold on the sigmoid of the include logits, in (0, 1).
        literals: how many literals a clause includes at the start, on average.
        leak: backward slope of a silent clause.

    Attributes:
        include_logits: (2, C, F) parameter; [0] the literals x, [1] the literals not x.

    Example:
        A clause "bit 0 and not bit 1" with LF 1:

        >>> bank = ClauseBank(num_bits=2, num_clauses=2, failures=1)
        >>> with torch.no_grad():
        ...     _ = bank.include_logits.fill_(-5.0)
        ...     bank.include_logits[0, 0, 0] = bank.include_logits[1, 0, 1] = 5.0
        >>> bank(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))[:, 0].tolist()
        [1.0, 0.0, 0.0]

    Source: Hnilov 2025, "Fuzzy-Pattern Tsetlin Machine", arXiv:2508.08350.
    """

    def __init__(
        self,
        num_bits: int,
        num_clauses: int,
        *,
        failures: int = 4,
        tau: float = 0.5,
        literals: float = 12.0,
        leak: float = 0.1,
    ) -> None:
        super().__init__()
        if num_clauses < 1:
            raise InputError(f"clauses: expected at least 1, got {num_clauses}")
        if failures < 1:
            raise InputError(f"failures (LF): expected at least 1, got {failures}")
        if not 0.0 < tau < 1.0:
            raise InputError(f"tau: expected a number in (0, 1), got {tau}")
        self.num_bits, self.num_clauses, self.failures, self.tau, self.leak = num_bits, num_clauses, failures, tau, leak
        self.include_logits = nn.Parameter(torch.empty(2, num_clauses, num_bits))
        self.reset_parameters(literals)

    def reset_parameters(self, literals: float, spread: float = 0.5) -> None:
        """Normal include logits whose mean puts `literals` of the 2F literals of a clause above the threshold."""
        share = min(max(literals / (2 * self.num_bits), 1e-4), 0.5)
        threshold = torch.logit(torch.tensor(self.tau)).item()
        mean = threshold - spread * torch.special.ndtri(torch.tensor(1.0 - share)).item()
        nn.init.normal_(self.include_logits, mean=mean, std=spread)

    def masks(self) -> tuple[Tensor, Tensor]:
        """The hard include masks, (C, F) each: of the literals x and of the literals not x."""
        include = hard_include(self.include_logits, self.tau)
        return include[0], include[1]

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
        misses_of_zeros = positive.sum(1)  # an all-zero input misses every positive literal
        margin = self.capacity(positive, negated) - misses_of_zeros
        # under autocast the product runs in bf16: bits and masks are exact there, and so are counts up to 256
        scores = nn.functional.linear(bits, positive - negated) + margin
        return revivable_relu(scores, self.leak) / self.failures

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"bits={self.num_bits}, clauses={self.num_clauses}, failures={self.failures}, tau={self.tau}"
