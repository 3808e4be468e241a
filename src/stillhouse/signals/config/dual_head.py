"""How a second head takes the logit-level loss off the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Layout

if TYPE_CHECKING:
    from stillhouse.signals.dual_head import DualHeadSignal


@configclass
class DualHeadConfig:
    """An auxiliary linear head learns the teacher's scores, the student's own head the labels alone; both shape the body.

    A loss on single scores and the cross-entropy pull one linear classifier in contradicting directions, though not the
    body below it. The auxiliary head is left out at export. Do not add a signal `logits` beside it: that would
    bring the teacher back to the main head.

    `student` is the input of the main head (the last pooled feature). `binary-kl` and `binary-kl-norm` take each class for
    itself, times T^2, and sum over classes (begin with a weight well below 1 where there are many): the first is the KL between
    Bernoullis sigma(z/T); the second, the published stable form, that from 1/2 to sigma((z_s - z_t)/T), which also sees
    scores where both sigmoids are flat. `forward-kl` is the usual one, over classes.

    Source: Yang et al. 2024, arXiv:2411.08937 (Dual-Head Knowledge Distillation).
    """

    kind: Literal["dual-head"] = "dual-head"
    student: str = Field(min_length=1, description="path of the student's sub-module that the second head reads")
    student_layout: Layout = Field(default="auto", description="axes of its output; auto: by their number")
    loss: Literal["binary-kl-norm", "binary-kl", "forward-kl"] = Field(
        default="binary-kl-norm", description="how scores are compared"
    )
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def student_features(self) -> tuple[str, ...]:
        """Path to tap in the student."""
        return (self.student,)

    def build(self, student: OutputSpec, teacher: OutputSpec) -> DualHeadSignal:
        """The signal, for a student and a teacher of equal class counts."""
        from stillhouse.signals.dual_head import DualHeadSignal

        return DualHeadSignal(self, student, teacher)
