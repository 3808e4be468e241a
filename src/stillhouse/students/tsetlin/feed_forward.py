"""What follows attention in a block: a clause bank, or, as controls, an MLP of the same width or nothing at all.

Shapes: B batch, N tokens, D width, F bits (the hidden width of the block), C clauses.
"""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.layers.straight_through import hard_step
from stillhouse.students.tsetlin.clauses import ClauseBank


class ClauseFeedForward(nn.Module):
    """Tokens -> bits -> clauses -> votes: (B, N, D) -> (B, N, D).

    `bits = 1[W x + b > 0]` (straight through, so `b` is a learned threshold per bit), `c = bank(bits)`, `votes = V c + v`.
    Because the bits and the include masks are hard in the forward pass, the bank can be evaluated with bit operations
    and gives the same numbers.

    Args:
        width: D.
        bits: F.
        clauses: C.
        failures: LF of the bank.
        tau: include threshold of the bank.
        literals: literals a clause includes at the start, on average.
        vote_std: standard deviation of the initial votes V.
    """

    def __init__(
        self, width: int, bits: int, clauses: int, *, failures: int, tau: float, literals: float, vote_std: float = 0.1
    ) -> None:
        super().__init__()
        self.thresholds = nn.Linear(width, bits)
        self.bank = ClauseBank(bits, clauses, failures=failures, tau=tau, literals=literals)
        self.votes = nn.Linear(clauses, width)
        nn.init.xavier_uniform_(self.thresholds.weight)
        nn.init.zeros_(self.thresholds.bias)
        nn.init.normal_(self.votes.weight, std=vote_std)
        nn.init.zeros_(self.votes.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) normalized tokens to (B, N, D) votes."""
        return self.votes(self.bank(hard_step(self.thresholds(x))))


class MLPFeedForward(nn.Sequential):
    """The ordinary transformer feed-forward of hidden width F with GELU, as a control for the clauses."""

    def __init__(self, width: int, hidden: int) -> None:
        inner, outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        super().__init__(inner, nn.GELU(), outer)
        for layer in (inner, outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
