"""Divergences between the softened class distributions of teacher and student, per sample.

Shapes: B batch, K classes. p = softmax(teacher / T), q = softmax(student / T). Every function works from log-softmax in
float32 (float64 stays), detaches the teacher, and multiplies by T^2 once, so that a gradient keeps its size as T changes
(`total_variation` alone does not; see there). NaN in, NaN out: nothing here hides one, and the training loop stops on it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.losses.softened import check_labels, clamp_log_probabilities, kl_of_logs, log_mixture, softened


def forward_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """T^2 KL(p || q): the classical distillation loss; 0 exactly where the student equals the teacher.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,) one a sample.

    Returns:
        (B,) in nats times T^2; its gradient in the student's logits is T (q - p). A class that the teacher rules out
        (-inf) adds nothing; one that only the student rules out makes it infinite.

    Raises:
        InputError: shapes differ, or the temperature is not positive and finite, or not a number or (B,).

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> [round(x, 4) for x in forward_kl(q, p).tolist()]
        [0.1308]

    Relations:
        `reverse_kl` swaps the roles; `generalized_js` lies between and is bounded.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    return kl_of_logs(log_p, log_q) * scale


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """T^2 KL(q || p): punishes mass where the teacher has none; its gradient vanishes where the student has none.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2. A class that the teacher rules out (-inf, or below -1e4 nats, as masks are) counts as one of
        -50 nats (p = 2e-22), or as its rarest possible class: it costs the student much, not infinity and a NaN gradient.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 1/2 ln 2/3 + 1/2 ln 2 = 0.1438.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> [round(x, 4) for x in reverse_kl(q, p).tolist()]
        [0.1438]

    Relations:
        `forward_kl` with the roles swapped; `generalized_js` needs no floor, since its mixture is 0 only where both are.

    Source: Gu et al. 2023, arXiv:2306.08543 (MiniLLM); Wu et al. 2024, arXiv:2404.02657.
    """
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    return kl_of_logs(log_q, clamp_log_probabilities(log_p)) * scale


def symmetric_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, mix: float = 0.5, temperature: float | Tensor = 1.0
) -> Tensor:
    """T^2 ((1 - mix) KL(p || q) + mix KL(q || p)): covers the teacher's mass and punishes mass beside it.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        mix: weight of the reverse KL, from 0 (`forward_kl` exactly) to 1 (`reverse_kl` exactly).
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2. At mix 1/2 it is half of Jeffreys' divergence and symmetric.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): half of the sum of (p - q) ln p/q, which is (ln 3)/4 in all.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> round(symmetric_kl(q, p).item(), 4)
        0.1373

    Relations:
        `generalized_js` is symmetric too, and bounded.

    Source: Jeffreys 1946; Wu et al. 2024, arXiv:2404.02657 (why to mix both for language models).
    """
    parts = [
        share * loss(student_logits, teacher_logits, temperature=temperature)
        for share, loss in ((1 - mix, forward_kl), (mix, reverse_kl))
        if share > 0  # 0 times an infinite KL is NaN
    ]
    return sum(parts[1:], parts[0])


def generalized_js(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 0.5,
    normalized: bool = False,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """T^2 (beta KL(p || m) + (1 - beta) KL(q || m)), m = beta p + (1 - beta) q: bounded, symmetric at beta = 1/2.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        beta: weight of the teacher, strictly between 0 and 1 (at the ends the divergence is 0 and teaches nothing).
        normalized: divide by beta (1 - beta), so that it keeps its size over beta: it then tends to `forward_kl` for
            beta -> 0 and to `reverse_kl` for beta -> 1, where the plain form fades to 0.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2, at most T^2 (-beta ln beta - (1 - beta) ln(1 - beta)) before it is normalized.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Distributions without overlap are ln 2 apart.

        >>> p, q = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
        >>> [round(x, 4) for x in generalized_js(q, p).tolist()]
        [0.6931]

    Relations:
        `forward_kl` and `reverse_kl` are its scaled limits; unlike them it stays bounded where one side is sure.

    Source: Lin 1991 (Divergence measures based on the Shannon entropy); Agarwal et al. 2024, arXiv:2306.13649 (GKD).
    """
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    log_m = log_mixture(log_p, log_q, beta)
    js = (beta * kl_of_logs(log_p, log_m) + (1 - beta) * kl_of_logs(log_q, log_m)) * scale
    return js / (beta * (1 - beta)) if normalized else js


def skew_forward_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, skew: float = 0.1, temperature: float | Tensor = 1.0
) -> Tensor:
    """T^2 KL(p || skew p + (1 - skew) q): forward KL whose gradient stays bounded where the student has no mass.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        skew: share of the teacher in the mixture, in [0, 1); 0 is `forward_kl`.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2, at most -T^2 ln skew (2.303 at 0.1 and T = 1).

    Raises:
        InputError: as `forward_kl`.

    Example:
        No overlap: -ln 0.1.

        >>> p, q = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
        >>> round(skew_forward_kl(q, p).item(), 4)
        2.3026

    Relations:
        `skew_reverse_kl` with the roles swapped; `generalized_js` mixes into both sides.

    Source: Ko et al. 2024, arXiv:2402.03898 (DistiLLM), alpha = 0.1.
    """
    if skew == 0:
        return forward_kl(student_logits, teacher_logits, temperature=temperature)
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    return kl_of_logs(log_p, log_mixture(log_p, log_q, skew)) * scale


def skew_reverse_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, skew: float = 0.1, temperature: float | Tensor = 1.0
) -> Tensor:
    """T^2 KL(q || (1 - skew) p + skew q): reverse KL that needs no floor where the teacher has no mass.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        skew: share of the student in the mixture, in [0, 1); 0 is `reverse_kl`, with its floor.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in nats times T^2, at most -T^2 ln skew.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Teacher (1, 0), student (1/2, 1/2), skew 1/2: m = (3/4, 1/4), 1/2 ln 2/3 + 1/2 ln 2.

        >>> p, q = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> round(skew_reverse_kl(q, p, skew=0.5).item(), 4)
        0.1438

    Relations:
        `skew_forward_kl` with the roles swapped.

    Source: Ko et al. 2024, arXiv:2402.03898 (DistiLLM), alpha = 0.1.
    """
    if skew == 0:
        return reverse_kl(student_logits, teacher_logits, temperature=temperature)
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    return kl_of_logs(log_q, log_mixture(log_q, log_p, skew)) * scale


def total_variation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Half the sum of |p - q|: the largest difference in probability that any set of classes can have.

    Not multiplied by T^2: for large T it falls as 1/T, not as 1/T^2, so the factor would let the weight of the loss grow
    with T instead of holding it. Without a factor it stays a number in [0, 1].

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in [0, 1]; its gradient is a sign a class, so it does not fade near equality and vanishes where it is 0.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2).

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> round(total_variation(q, p).item(), 4)
        0.25

    Relations:
        At most the root of half of `forward_kl` at T = 1 (Pinsker).

    Source: Wen et al. 2023, arXiv:2307.15190 (f-distillation).
    """
    log_q, log_p, _ = softened(student_logits, teacher_logits, temperature)
    return 0.5 * torch.linalg.vector_norm(log_p.exp() - log_q.exp(), ord=1, dim=1)


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
        InputError: labels that are not whole numbers from 0 to K - 1, one a sample; as `forward_kl`.

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
    log_q, log_p, scale = softened(student_logits, teacher_logits, temperature)
    check_labels(labels, *log_p.shape)
    is_target = torch.zeros_like(log_p, dtype=torch.bool).scatter(1, labels.long().unsqueeze(1), True)
    sure = log_p.exp().clamp(min=RAREST)
    log_w = torch.where(is_target, torch.expm1(gamma * torch.log1p(sure)).log(), gamma * log_p)
    log_total = torch.logsumexp(log_w, dim=1)
    return scale * log_total.exp() * kl_of_logs(log_w - log_total.unsqueeze(1), log_q)


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
        InputError: labels are not whole numbers from 0 to K - 1, one a sample; fewer than 2 classes; as `forward_kl`.

    Example:
        Teacher (1/2, 3/8, 1/8), student (1/2, 1/4, 1/4), label 0: TCKD 0, NCKD = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

        >>> p, q = torch.tensor([[4.0, 3.0, 1.0]]).log(), torch.tensor([[2.0, 1.0, 1.0]]).log()
        >>> round(decoupled_kl(q, p, torch.tensor([0]), nontarget_weight=1.0).item(), 4)
        0.1308

    Relations:
        `forward_kl` is nontarget_weight = 1 - p_y, sample by sample.

    Source: Zhao et al. 2022, arXiv:2203.08679 (DKD; weights 1 and 8, T = 4 and a linear warm-up of 20 epochs on CIFAR-100).
    """
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
