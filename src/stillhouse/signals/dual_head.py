"""A second head that learns the teacher's scores, which takes the logit-level loss off the first.

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl
from stillhouse.losses.values import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.signals.bridges import Layout, Side


@configclass
class DualHeadConfig(SignalBase):
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


def binary_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, norm: bool = False
) -> Tensor:
    """T^2 times the KL of each class's Bernoulli, summed over classes: scores are matched themselves, not their differences.

    A softmax does not see a constant added to all scores; this does.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number.
        norm: KL(1/2 || sigma((z_s - z_t)/T)) in place of KL(sigma(z_t/T) || sigma(z_s/T)): the gradient
            depends on the gap alone and does not vanish where both sigmoids are flat. A class that the teacher rules out
            (-inf) has no gap: it adds nothing.

    Returns:
        (B,) in nats times T^2. Gradient in the student's logits: T (sigma(z_s/T) - sigma(z_t/T)), with `norm`
        T (sigma((z_s - z_t)/T) - 1/2).

    Raises:
        InputError: shapes differ or are not (B, K), or the temperature is not positive and finite.

    Example:
        Teacher 3/4, student 1/2: 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

        >>> import torch
        >>> t = torch.tensor([[3.0]]).log()  # sigma = 3/4
        >>> round(binary_kl(torch.zeros(1, 1), t).item(), 4)
        0.1308

    Relations:
        `forward_kl` compares the classes with each other.

    Source: Yang et al. 2024, arXiv:2411.08937.
    """
    same_shape("teacher logits", tuple(teacher_logits.shape), tuple(student_logits.shape))
    if student_logits.ndim != 2 or student_logits.shape[1] == 0:
        raise InputError(f"logits: expected (B, K), got {tuple(student_logits.shape)}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature: expected positive and finite, got {temperature}")
    s, t = wide(student_logits) / temperature, wide(teacher_logits.detach()) / temperature
    if norm:
        ruled_out = (t == -math.inf) & ~s.isnan()  # a student's NaN must stay one
        s, t = (s - t).masked_fill(ruled_out, 0.0), torch.zeros_like(t)
    return (_kl_of_yes(t, s) + _kl_of_yes(-t, -s)).sum(1) * temperature**2


def _kl_of_yes(t: Tensor, s: Tensor) -> Tensor:
    """sigma(t) ln(sigma(t) / sigma(s)); 0 where the teacher is sure of no (-inf)."""
    possible = t > -math.inf
    log_p, log_q = (torch.where(possible, nn.functional.logsigmoid(x), 0.0) for x in (t, s))
    return torch.sigmoid(t) * (log_p - log_q)


class DualHeadSignal(Signal, of=DualHeadConfig):
    """Distance of the auxiliary head's scores to the teacher's; (B,) unweighted. The student's own logits are not read.

    Raises:
        InputError: class counts differ, a path that is not there, or axes that cannot be read.
    """

    def __init__(self, config: DualHeadConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or "dual-head", config.weight)
        check_classes(self.name, student, teacher)
        self.config = config
        self.read = Side.of("student", config.student, student, config.student_layout)
        self.head = nn.Linear(self.read.width, student.num_classes)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        logits, temperature = self.auxiliary_logits(student_out), self.config.temperature
        if self.config.loss == "forward-kl":
            return forward_kl(logits, teacher_out.logits, temperature=temperature)
        return binary_kl(logits, teacher_out.logits, temperature=temperature, norm=self.config.loss == "binary-kl-norm")

    def auxiliary_logits(self, student_out: Outputs) -> Tensor:
        """Scores (B, K) of the auxiliary head."""
        return self.head(self.read.pooled(student_out.features))
