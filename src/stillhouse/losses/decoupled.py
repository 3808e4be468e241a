"""The distillation loss taken apart: the class of the label, and the others among themselves (DKD).

Shapes: B batch, K classes. y is the label; p = softmax(teacher / T), q = softmax(student / T).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.softened import kl_of_logs, softened
from stillhouse.losses.values import check_labels


def decoupled_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    target_weight: float = 1.0,
    nontarget_weight: float = 8.0,
) -> Tensor:
    """T^2 (target_weight TCKD + nontarget_weight NCKD): the teacher's view of wrong classes gets a weight of its own.

    KL(p || q) = TCKD + (1 - p_y) NCKD exactly, TCKD being the KL of (p_y, 1 - p_y) and NCKD that of the other classes
    renormalized. So the plain loss hears the other classes the less, the surer the teacher is; here they keep their weight.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        labels: (B,) int64, 0 to K - 1.
        temperature: a positive number, or (B,).
        target_weight: alpha of the paper; 0 leaves TCKD out.
        nontarget_weight: beta of the paper; large values need a teacher whose wrong classes mean something.

    Returns:
        (B,) in nats times T^2. Where the teacher leaves no other class possible, NCKD is 0.

    Raises:
        InputError: labels are not whole numbers from 0 to K - 1, one a sample; fewer than 2 classes; a negative weight or none
            above 0; as `forward_kl`.

    Example:
        Teacher (1/2, 3/8, 1/8), student (1/2, 1/4, 1/4), label 0: TCKD 0, NCKD = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

        >>> p, q = torch.tensor([[4.0, 3.0, 1.0]]).log(), torch.tensor([[2.0, 1.0, 1.0]]).log()
        >>> round(decoupled_kl(q, p, torch.tensor([0]), nontarget_weight=1.0).item(), 4)
        0.1308

    Relations:
        `forward_kl` is nontarget_weight = 1 - p_y, sample by sample.

    Source: Zhao et al. 2022, arXiv:2203.08679 (DKD; weights 1 and 8, T = 4 and a linear warm-up of 20 epochs on CIFAR-100).
    """
    if min(target_weight, nontarget_weight) < 0 or max(target_weight, nontarget_weight) == 0:
        raise InputError(
            "target_weight, nontarget_weight: expected none below 0 and one above, got "
            f"{target_weight} and {nontarget_weight}"
        )
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    check_labels(labels, *log_p.shape)
    is_target = torch.zeros_like(log_p, dtype=torch.bool).scatter(1, labels.long().unsqueeze(1), True)
    binary_p, others_p = _apart(log_p, is_target)
    binary_q, others_q = _apart(log_q, is_target)
    total = torch.zeros_like(log_q[:, 0])
    if target_weight > 0:
        total = total + target_weight * kl_of_logs(binary_p, binary_q)
    if nontarget_weight > 0:
        total = total + nontarget_weight * kl_of_logs(others_p, others_q)
    return total * scale


def _apart(log_p: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """ln (p_y, 1 - p_y) as (B, 2), and the log-probabilities (B, K) of the other classes among themselves (-inf at y).

    1 - p_y is summed from the other classes: taken from p_y it would be 0 in float32 as soon as p_y rounds to 1.
    """
    others = log_p.masked_fill(is_target, -math.inf)
    alone = (others == -math.inf).all(dim=1, keepdim=True)
    # a logsumexp of nothing has a NaN gradient: such rows are computed on zeros and then overwritten
    rest = torch.logsumexp(others.masked_fill(alone, 0.0), dim=1, keepdim=True)
    among = (others - rest).masked_fill(alone, -math.inf)
    target = log_p.masked_fill(~is_target, 0.0).sum(dim=1, keepdim=True)
    return torch.cat([target, rest.masked_fill(alone, -math.inf)], dim=1), among
