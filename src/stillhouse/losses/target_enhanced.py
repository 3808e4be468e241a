"""A divergence that is surer of the label the surer the teacher is (OFA-KD).

Shapes: B batch, K classes. y is the label; p = softmax(teacher / T), q = softmax(student / T).
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.softened import kl_of_logs, softened
from stillhouse.losses.values import check_labels

RAREST = 1e-30  # a label that the teacher rules out weighs next to nothing; its logarithm must stay finite


def target_enhanced_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 1.4,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """T^2 W KL(w / W || q): the teacher's distribution w, enhanced at the label by an exponent that acts on 1 + p_y.

    w_c = p_c^gamma for the other classes and (1 + p_y)^gamma - 1 for the label, W their sum. As published the loss is the
    cross-entropy -sum_c w_c ln q_c; the gradient is the same, and here it is 0 at its best. gamma = 1 is `forward_kl`. With a
    larger one what the teacher believes of wrong classes fades, which is of the teacher's architecture, while the label gains
    with the teacher's certainty: a student of another kind is not asked to copy what it cannot see.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        labels: (B,) int64, 0 to K - 1.
        gamma: exponent, at least 1.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2.

    Raises:
        InputError: gamma below 1; labels that are not whole numbers from 0 to K - 1, one a sample; as `forward_kl`.

    Example:
        Teacher (1/2, 1/2), label 0, gamma 2: w = (5/4, 1/4), so that a student of (5/6, 1/6) has nothing left to learn.

        >>> p, q = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[5.0, 1.0]]).log()
        >>> abs(round(target_enhanced_kl(q, p, torch.tensor([0]), gamma=2.0).item(), 6))
        0.0

    Relations:
        `decoupled_kl` weighs the label's class and the others by two factors, whatever the teacher's certainty.

    Source: Hao et al. 2023, arXiv:2310.19444 (OFA-KD), eq. 5 and the released form, which leaves the labels' own
    cross-entropy, the 1 in the bracket, to the loss with the labels.
    """
    if gamma < 1:
        raise InputError(f"gamma: expected at least 1, got {gamma}")
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    check_labels(labels, *log_p.shape)
    is_target = torch.zeros_like(log_p, dtype=torch.bool).scatter(1, labels.long().unsqueeze(1), True)
    sure = log_p.exp().clamp(min=RAREST)
    log_w = torch.where(is_target, torch.expm1(gamma * torch.log1p(sure)).log(), gamma * log_p)
    log_total = torch.logsumexp(log_w, dim=1)
    return scale * log_total.exp() * kl_of_logs(log_w - log_total.unsqueeze(1), log_q)
