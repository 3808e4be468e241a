"""What follows attention in a block: clauses with what may surround them, or, as a control, an MLP of the same width.

Shapes: B batch, N tokens, D width, F bits (the hidden width of the block), C clauses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stillhouse.layers.straight_through import hard_step
from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.config import ClauseOptions
from stillhouse.tasks.classification.students.core import ClauseOutput, DeepTM
from stillhouse.tasks.classification.students.transformer_config import Gate, GateActivation, UnifiedTMConfig

LAST = 2  # clauses of the last layer of deeptm over those of the first, as the table of parameters needs
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "geglu": nn.functional.gelu,
    "swiglu": nn.functional.silu,
}
START = 0.05  # thresholds start above 0: at 0 a positive gate could never change a sign, and so no bit


class GatedProjection(nn.Module):
    """Tokens (..., D) to hidden numbers (..., F) whose signs are the bits that clauses read.

    "none": W x + b. "linear": v act(g). "geglu": v GELU(g), "swiglu": v SiLU(g), both as published. "tm" and "deeptm":
    v act(TM(bits of v)), a clause layer as the gate. [v, g] = W x + b; every gated kind subtracts a learned threshold.

    Args:
        width: D.
        hidden: F.
        kind: the gate.
        activation: act of the kinds linear, tm and deeptm.
        clauses: clauses of a tm gate.
        options: rule of a tm gate's clauses.

    Source: Shazeer 2020, arXiv:2002.05202 (GEGLU, SwiGLU).
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        kind: Gate = "none",
        activation: GateActivation = "sigmoid",
        *,
        clauses: int = 0,
        options: ClauseOptions | None = None,
    ) -> None:
        super().__init__()
        split = kind in {"linear", "geglu", "swiglu"}
        self.linear = nn.Linear(width, hidden * 2 if split else hidden)
        for part in self.linear.weight.detach().split(hidden):
            nn.init.xavier_uniform_(part)
        nn.init.zeros_(self.linear.bias)
        self.activation = ACTIVATIONS.get(kind, ACTIVATIONS[activation])
        layers = {"tm": 1, "deeptm": 2}.get(kind, 0)
        self.clauses = DeepTM([hidden] * (layers + 1), clauses, options or ClauseOptions()) if layers else None
        self.threshold = nn.Parameter(torch.full((hidden,), START)) if kind != "none" else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., F), signed: bits are where it is above 0."""
        x = self.linear(x)
        if self.threshold is None:
            return x
        if self.clauses is not None:
            return x * self.activation(self.clauses(x).votes) - self.threshold
        value, gate = x.chunk(2, dim=-1)
        return value * self.activation(gate) - self.threshold


class BitwiseMix(nn.Module):
    """Bits mixed with their negations by one linear map, and thresholded again: a layer in which XOR can be made.

    The linear map sees `[b, 1 - b]` of hard bits b. On numbers before the threshold (the published place) it would be one
    more linear map after a linear map and could not add anything new. It starts close to passing every bit through.

    Args:
        hidden: F.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * hidden, hidden)
        eye = torch.eye(hidden)
        with torch.no_grad():
            nn.init.normal_(self.linear.weight, std=0.5 / hidden**0.5)
            self.linear.weight += torch.cat([eye, -eye], dim=1)
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(..., F) signed numbers to (..., F) signed numbers."""
        bits = hard_step(x)
        mixed: Tensor = self.linear(torch.cat([bits, 1 - bits], dim=-1))
        return mixed


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
        deep = config.backend == "deeptm"
        widths, last = ((hidden, hidden, width), clauses * LAST) if deep else ((hidden, width), clauses)
        self.core = DeepTM(widths, clauses, options, last_clauses=last, dropout=config.drop_rate)
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

    def forward(self, x: Tensor) -> ClauseOutput:
        """(B, N, D) normalized tokens to (B, N, D) votes, and the strengths (B, N, C) of the clauses."""
        votes, strength = self.core(self.bitwise(self.project(self.conv(self.before(x)))))
        if self.attention is not None:
            votes = votes + self.attention(strength)
        if self.routing is not None:
            votes = votes * (2 * torch.sigmoid(self.routing(strength)))  # starts around 1: it takes nothing away
        if self.bypass is not None and self.bypass_gain is not None:
            votes = votes + torch.tanh(self.bypass_gain) * self.bypass(x)
        return ClauseOutput(self.drop(self.after(votes)), strength)
