"""The signal of scores that a head of its own learns.

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl
from stillhouse.losses.precision import wide
from stillhouse.signals.config.dual_head import DualHeadConfig
from stillhouse.signals.pooled import Pooled


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


class DualHeadSignal(nn.Module):
    """Distance of the auxiliary head's scores to the teacher's; (B,) unweighted. The student's own logits are not read.

    Raises:
        InputError: class counts differ, a path that is not there, or axes that cannot be read.
    """

    def __init__(self, config: DualHeadConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        if student.num_classes != teacher.num_classes:
            raise InputError(
                f"signal 'dual-head': expected equal class counts, student has {student.num_classes}, teacher {teacher.num_classes}"
            )
        self.name, self.weight, self.config = "dual-head", config.weight, config
        self.read = Pooled.of(config.student, student, config.student_layout)
        self.head = nn.Linear(self.read.width, student.num_classes)

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        logits, temperature = self.auxiliary_logits(said), self.config.temperature
        if self.config.loss == "forward-kl":
            return forward_kl(logits, told.logits, temperature=temperature)
        return binary_kl(logits, told.logits, temperature=temperature, norm=self.config.loss == "binary-kl-norm")

    def auxiliary_logits(self, said: Outputs) -> Tensor:
        """Scores (B, K) of the auxiliary head."""
        return self.head(self.read(said.features))
