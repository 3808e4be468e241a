"""How class scores are matched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.config import configclass
from stillhouse.types import OutputSpec

if TYPE_CHECKING:
    from stillhouse.signals.logits import LogitSignal


@configclass
class LogitsConfig:
    """Match the teacher's class scores.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["logits"] = "logits"
    loss: Literal["forward-kl", "reverse-kl", "js", "mse"] = Field(
        default="forward-kl", description="how scores are compared"
    )
    temperature: float | None = Field(
        default=None, gt=0, description="softens both sides; the loss is multiplied by T^2 [2]"
    )
    beta: float | None = Field(default=None, gt=0, lt=1, description="weight of the teacher in the mixture of js [0.5]")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        if self.loss == "mse" and self.temperature is not None:
            raise ValueError("temperature: does nothing under loss 'mse' (it compares raw scores); leave it out")
        if self.loss != "js" and self.beta is not None:
            raise ValueError(f"beta: does nothing under loss {self.loss!r}; it belongs to 'js'")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LogitSignal:
        """The signal, for a student and a teacher of equal class counts."""
        from stillhouse.signals.logits import LogitSignal

        return LogitSignal(self, student, teacher)
