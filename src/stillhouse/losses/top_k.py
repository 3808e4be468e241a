"""A divergence towards targets of which only the most probable classes were kept. Shapes: B tokens, V classes, k kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.softened import checked_temperature, kl_of_logs, kl_of_part, log_softmax_over
from stillhouse.losses.tail import Scores
from stillhouse.losses.values import everywhere, wide


def topk_kl(
    student_logits: Tensor,
    topk_ids: Tensor,
    topk_logprobs: Tensor,
    *,
    tail: bool = True,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """T^2 KL of the k classes that a cached teacher kept, and of one bucket for all the rest.

    The teacher's rest, 1 - sum p, is known though its classes are not: it is compared with the student's mass on the same
    classes. Without it (`tail=False`) the k are renormalized to 1, which asks the student for more certainty than the teacher
    has; that form is here as the control.

    Args:
        student_logits: (B, V).
        topk_ids: (B, k) int64, different classes in each row.
        topk_logprobs: (B, k), the teacher's log-probabilities at `temperature`, not renormalized; gets no gradient. Logits kept at
            T = 1 cannot give them at another T: the rest is not known there.
        tail: compare the rest as one bucket; False: renormalize the k.
        temperature: the one the log-probabilities were made at, a positive number or (B,).

    Returns:
        (B,) in nats times T^2. With the tail never above `forward_kl`, and equal to it for k = V, or where the two tails are
        proportional.

    Raises:
        InputError: shapes do not fit, ids outside 0 to V - 1, or rows whose probabilities sum to more than 1.

    Example:
        Teacher (1/2, 1/4, 1/4) of which the first was kept, student uniform: 1/2 ln 3/2 + 1/2 ln 3/4 = 0.0589.

        >>> kept = torch.tensor([[0]]), torch.tensor([[0.5]]).log()
        >>> round(topk_kl(torch.zeros(1, 3), *kept).item(), 4)
        0.0589

    Relations:
        `forward_kl` where all classes are known.

    Source: Anshumann et al. 2025, arXiv:2503.16870 (the bias of a renormalized top k).
    """
    same_shape("topk_logprobs", tuple(topk_logprobs.shape), tuple(topk_ids.shape))
    if student_logits.ndim != 2 or topk_ids.ndim != 2 or len(topk_ids) != len(student_logits):
        raise InputError(
            f"expected student logits (B, V) and ids (B, k), got {tuple(student_logits.shape)} and {tuple(topk_ids.shape)}"
        )
    hot = checked_temperature(temperature, len(student_logits))
    ids, log_p = topk_ids.long(), wide(topk_logprobs.detach())
    log_sum = torch.logsumexp(log_p, dim=1, keepdim=True)
    _check_targets(ids, log_sum, student_logits.shape[1])
    divisor = hot.unsqueeze(1) if isinstance(hot, Tensor) and hot.ndim else hot
    log_q = log_softmax_over(wide(student_logits), divisor)
    kept_q = log_q.gather(1, ids)
    if not tail:
        return kl_of_part(log_p - log_sum, kept_q) * hot**2
    if ids.shape[1] < log_q.shape[1]:
        log_p = torch.cat([log_p, _log_rest(log_sum)], dim=1)
        # summed over the others: 1 - sum q would be 0 in float32 once the k hold all but a ten-millionth
        kept_q = torch.cat([kept_q, log_q.scatter(1, ids, -math.inf).logsumexp(dim=1, keepdim=True)], dim=1)
    return kl_of_logs(log_p, kept_q) * hot**2


def scores_kl(student_logits: Tensor, scores: Scores, temperature: float | Tensor, *, tail: bool = True) -> Tensor:
    """`topk_kl` at a temperature that is applied now: T^2 KL over the kept tokens and one bucket for all others.

    The teacher's log-probabilities have a gradient in the temperature, as those of a live teacher have.

    Args:
        student_logits: (N, V).
        scores: of the same tokens.
        temperature: a number, or a tensor () that is learned.
        tail: compare the others as one bucket; False: renormalize the kept ones.

    Returns:
        (N,) in nats times T^2.

    Example:
        >>> import math
        >>> kept = Scores(torch.tensor([[0]]), torch.zeros(1, 1), torch.tensor([[math.log(3)]]), (1.0,), 3)
        >>> round(scores_kl(torch.zeros(1, 4), kept, 2.0).item(), 4)  # both uniform
        0.0
    """
    log_p, rest_p = scores.log_probabilities(temperature)
    log_q = torch.log_softmax(student_logits.float() / temperature, 1)
    kept_q = log_q.gather(1, scores.ids)
    if not tail:
        return kl_of_part(torch.log_softmax(scores.scores / temperature, 1), kept_q) * temperature**2
    if scores.others:
        log_p = torch.cat([log_p, rest_p.unsqueeze(1)], 1)
        kept_q = torch.cat([kept_q, log_q.scatter(1, scores.ids, -torch.inf).logsumexp(1, keepdim=True)], 1)
    return kl_of_logs(log_p, kept_q) * temperature**2


def _log_rest(log_sum: Tensor) -> Tensor:
    """ln(1 - exp(log_sum)); -inf where the rest is no more than the rounding of the sum."""
    nothing = log_sum >= -4 * torch.finfo(log_sum.dtype).eps
    x = log_sum.masked_fill(nothing, -1.0)
    rest = torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-x.exp()))
    return rest.masked_fill(nothing, -math.inf)


def _check_targets(ids: Tensor, log_sum: Tensor, classes: int) -> None:
    if ids.shape[1] < 1 or ids.shape[1] > classes:
        raise InputError(f"topk_ids: expected 1 to {classes} classes a row, got {ids.shape[1]}")
    if not everywhere((ids >= 0) & (ids < classes)):
        raise InputError(
            f"topk_ids: expected class numbers from 0 to {classes - 1}, got {ids.min().item()} to {ids.max().item()}"
        )
    if not everywhere(
        ~(log_sum > 0.01)
    ):  # not `<=`, a NaN is the loss's to show; a hundredth: log-probabilities are often kept in half precision
        raise InputError(
            "topk_logprobs: expected log-probabilities, whose row sums are at most 1, got a sum of "
            f"{log_sum.max().exp().item():.4g}"
        )
