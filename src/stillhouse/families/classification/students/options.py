"""How clauses are evaluated and learned, for every model of the family. No torch here."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stillhouse.core.config import configclass


@configclass
class ClauseOptions:
    """The rule of one bank of clauses; `failures` well below `literals` makes a clause a soft AND and not a count."""

    failures: int = Field(default=4, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(
        default=None, gt=0, description="literals that a clause includes at the start, on average; none: 3 LF"
    )
    tau: float = Field(default=0.5, gt=0, lt=1, description="include threshold on the sigmoid of the include logits")
    learnable_tau: bool = Field(default=False, description="tau is learned: it gets the gradient of the masks")
    tau_min: float = Field(default=0.05, gt=0, lt=1, description="lower bound of a learned tau")
    tau_max: float = Field(default=0.95, gt=0, lt=1, description="upper bound of a learned tau")
    tau_ema: float | None = Field(
        default=None, gt=0, lt=1, description="masks use a moving average of tau with this memory, in (0, 1)"
    )
    literal_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of literals that no clause cares about in a training step"
    )
    literal_budget: int | None = Field(
        default=None, gt=0, description="L: a clause keeps only its L most included literals"
    )
    clause_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on clause strengths")
    clause_bias: float | None = Field(
        default=0.0, description="start of the learned bias of each clause before voting; none: a bias on the votes"
    )
    leak: float = Field(default=0.1, ge=0, le=1, description="backward slope of a silent clause, so that it can return")

    per_failure: ClassVar[float] = 3.0

    @property
    def literals_at_start(self) -> float:
        """Literals of a clause at the start. Half of them are drawn wrong for a given input: far above 2 LF nothing fires."""
        return self.per_failure * self.failures if self.literals is None else self.literals

    def __post_init__(self) -> None:
        if not self.tau_min < self.tau_max:
            raise ValueError(f"tau_min: expected below tau_max ({self.tau_max}), got {self.tau_min}")
        if self.learnable_tau and not self.tau_min < self.tau < self.tau_max:
            raise ValueError(
                f"tau: expected between tau_min and tau_max ({self.tau_min}, {self.tau_max}), got {self.tau}"
            )


@configclass
class PixelClauseOptions(ClauseOptions):
    """The rule for clauses that read a whole image: more literals, more of which may fail."""

    failures: int = Field(default=16, ge=1, description="LF: misses that silence a clause")
    literals: float | None = Field(
        default=None, gt=0, description="literals that a clause includes at the start, on average; none: 2.25 LF"
    )
    per_failure: ClassVar[float] = 2.25
