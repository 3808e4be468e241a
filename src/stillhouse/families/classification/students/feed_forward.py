"""What follows attention in a block: clauses with what may surround them, or, as a control, an MLP of the same width.

Shapes: B batch, N tokens, D width, F bits (the hidden width of the block), C clauses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.families.classification.students.clauses import ClauseBank
from stillhouse.families.classification.students.config import UnifiedTMConfig
from stillhouse.families.classification.students.core import DeepTM, Voted
from stillhouse.families.classification.students.gates import BitwiseMix, GatedProjection


class TokenConv(nn.Module):
    """A residual 3 x 3 depthwise convolution over the map of tokens; a class token gets the mean of what it adds.

    The usual one runs along the flattened tokens, across the class token and from the end of one row into the next.

    Args:
        width: D.
        grid: (rows, columns).
        prefix: tokens ahead of the grid.
    """

    def __init__(self, width: int, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        ahead, tokens = x[:, : self.prefix], x[:, self.prefix :]
        spread = self.conv(tokens.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
        return torch.cat([ahead + spread.mean(1, keepdim=True), tokens + spread], dim=1)


class MLPFeedForward(nn.Sequential):
    """The ordinary transformer feed-forward of hidden width F with GELU, as a control for the clauses."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        inner, outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        super().__init__(inner, nn.GELU(), outer, nn.Dropout(dropout))
        for layer in (inner, outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class ClauseFeedForward(nn.Module):
    """Tokens -> bits -> clauses -> votes: (B, N, D) -> (B, N, D).

    In order: linear and depthwise mixing, gated projection to F numbers, bitwise mixing, threshold to bits, clauses, votes,
    clause attention, clause routing, bypass, linear mixing, dropout. Bits and include masks are hard in the forward pass,
    so the clauses can be evaluated with bit operations and give the same numbers.

    Args:
        width: D.
        hidden: F.
        clauses: C.
        config: which of the parts there are.
        grid: (rows, columns) of the tokens.
        prefix: tokens ahead of the grid.
    """

    def __init__(
        self, width: int, hidden: int, clauses: int, config: UnifiedTMConfig, *, grid: tuple[int, int], prefix: int
    ) -> None:
        super().__init__()
        options, mix = config.clause_options(), config.ff_mix_type
        self.before = nn.Linear(width, width) if "linear" in mix else nn.Identity()
        self.conv = TokenConv(width, grid, prefix) if "depthwise" in mix else nn.Identity()
        self.project = GatedProjection(
            width, hidden, config.ff_gate, config.ff_gate_activation, clauses=clauses, options=options
        )
        self.bitwise = BitwiseMix(hidden) if config.ff_bitwise_mix else nn.Identity()
        inner, last = ((hidden,), clauses * config.deeptm_last_factor) if config.deep else ((), clauses)
        self.core = DeepTM(hidden, inner, width, clauses, options, last_clauses=last, dropout=config.drop_rate)
        self.attention = (
            nn.Sequential(nn.LayerNorm(last), nn.Linear(last, hidden), nn.GELU(), nn.Linear(hidden, width))
            if config.clause_attention
            else None
        )
        self.routing = nn.Sequential(nn.LayerNorm(last), nn.Linear(last, width)) if config.clause_routing else None
        self.bypass = MLPFeedForward(width, hidden) if config.continuous_bypass else None
        self.bypass_gain = nn.Parameter(torch.tensor(config.bypass_scale)) if config.continuous_bypass else None
        self.after = nn.Linear(width, width) if "linear" in mix else nn.Identity()
        self.drop = nn.Dropout(config.drop_rate)

    @property
    def bank(self) -> ClauseBank:
        """The clauses that vote (of the last layer)."""
        return self.core.last.bank

    @property
    def votes(self) -> nn.Linear:
        """Their votes."""
        return self.core.last.votes

    def bits_from(self, x: Tensor) -> Tensor:
        """(B, N, F) numbers whose signs are the bits of normalized tokens (B, N, D)."""
        numbers: Tensor = self.bitwise(self.project(self.conv(self.before(x))))
        return numbers

    def forward(self, x: Tensor) -> Voted:
        """(B, N, D) normalized tokens to (B, N, D) votes, and the strengths (B, N, C) of the clauses."""
        votes, strength = self.core(self.bits_from(x))
        if self.attention is not None:
            votes = votes + self.attention(strength)
        if self.routing is not None:
            votes = votes * (
                2 * torch.sigmoid(self.routing(strength))
            )  # starts around 1, so that it takes nothing away
        if self.bypass is not None and self.bypass_gain is not None:
            votes = votes + torch.tanh(self.bypass_gain) * self.bypass(x)
        return Voted(self.drop(self.after(votes)), strength)
