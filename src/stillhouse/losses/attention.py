"""Where a network looks, is active and mixes: attention, relations of queries, keys and values, and maps of positions, per sample.

Shapes: B batch, H heads, L positions, D width. Scores are (B, H, L, L), queries before keys. A mask (B, L) is true where there is
a token: others are neither looked at nor asked. `causal` lets position i see 0 to i only, as the network itself did.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.softened import kl_of_logs, wide, without_autocast


@without_autocast
def attention_scores(queries: Tensor, keys: Tensor, *, heads: int) -> Tensor:
    """q k^T / sqrt(D / H) of every head: what fused attention computes and never shows.

    Right for plain scaled dot products only: rotary positions, position biases and norms of q or k act after these layers.

    Args:
        queries: (B, L, D), heads side by side.
        keys: (B, L, D).
        heads: H, divides D.

    Returns:
        (B, H, L, L) before the softmax.

    Raises:
        InputError: shapes differ.

    Example:
        Two heads of width 1: products 1 * 3 and 2 * 4.

        >>> attention_scores(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]), heads=2).flatten().tolist()
        [3.0, 8.0]

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """
    same_shape("keys", tuple(keys.shape), tuple(queries.shape))
    q, k = _heads(queries, heads), _heads(keys, heads)
    return q @ k.transpose(2, 3) / math.sqrt(q.shape[3])


@without_autocast
def attention_kl(
    student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """KL(A_T || A_S) of the attention distributions: the student looks where the teacher looks.

    Args:
        student_scores: (B, H, L, L) before the softmax.
        teacher_scores: (B, H, L, L), as many heads and positions; gets no gradient.
        mask: (B, L) bool, where there is a token.
        causal: position i sees 0 to i.

    Returns:
        (B,) in nats, mean over heads and positions asked. A sample without any token: 0. Position 0 of a causal network has
        nothing to choose and counts as 0.

    Raises:
        InputError: shapes differ or are not (B, H, L, L), or the mask is not (B, L) bool.

    Example:
        One head; the teacher looks at (3/4, 1/4) from position 0 and (1/2, 1/2) from 1, the student evenly: 0.1308 / 2.

        >>> theirs = torch.tensor([[[[3.0, 1.0], [1.0, 1.0]]]]).log()
        >>> [round(x, 4) for x in attention_kl(torch.zeros(1, 1, 2, 2), theirs).tolist()]
        [0.0654]

    Relations:
        `attention_score_mse` compares before the softmax; `relation_kl` needs no equal heads.

    Source: Wang et al. 2020, arXiv:2002.10957 (MiniLM), eq. 2.
    """
    allowed, asked = _checked(student_scores, teacher_scores, mask, causal)
    return _kl(wide(student_scores), wide(teacher_scores.detach()), allowed, asked)


def attention_score_mse(
    student_scores: Tensor, teacher_scores: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Mean squared difference of scores before the softmax: stiffer than `attention_kl`, since a row's constant counts.

    Args:
        student_scores: (B, H, L, L).
        teacher_scores: (B, H, L, L); gets no gradient.
        mask: (B, L) bool, where there is a token.
        causal: position i sees 0 to i.

    Returns:
        (B,), mean over heads and over the pairs that may see each other; others count neither as error nor as number, so
        padding sets no weight. A sample without any token: 0.

    Raises:
        InputError: as `attention_kl`.

    Example:
        Gaps 1 and 3 in the first row; the second position is padding: (1) / 1 with the mask, (1 + 9) / 4 without.

        >>> theirs = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
        >>> mask = torch.tensor([[True, False]])
        >>> ours = torch.zeros(1, 1, 2, 2)
        >>> attention_score_mse(ours, theirs, mask=mask).item(), attention_score_mse(ours, theirs).item()
        (1.0, 2.5)

    Relations:
        `attention_kl` of the softmax.

    Source: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT), eq. 7, as its code has it: on scores.
    """
    allowed, asked = _checked(student_scores, teacher_scores, mask, causal)
    counted = (allowed & asked[:, None, :, None]).expand(len(student_scores), 1, -1, -1)
    gap = (wide(student_scores) - wide(teacher_scores.detach())).masked_fill(~counted, 0.0)
    pairs = counted.sum(dim=(1, 2, 3)) * student_scores.shape[1]
    return gap.square().sum(dim=(1, 2, 3)) / pairs.clamp(min=1)


@without_autocast
def relation_kl(
    student: Tensor, teacher: Tensor, *, heads: int, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """KL(R_T || R_S) with R = softmax(x x^T / sqrt(D / H)): how tokens relate within queries, keys or values.

    Args:
        student: (B, L, Ds), queries, keys or values.
        teacher: (B, L, Dt), the same of the teacher; gets no gradient.
        heads: relation heads into which both sides are split, whatever heads they attend with; divides Ds and Dt.
        mask: (B, L) bool, where there is a token.
        causal: position i sees 0 to i.

    Returns:
        (B,) in nats, mean over heads and positions asked.

    Raises:
        InputError: other batch or length on the two sides, or a mask that is not (B, L) bool.

    Example:
        Orthogonal tokens of length 1 relate by softmax(1, 0), equal ones evenly: KL((.731, .269) || (.5, .5)) = 0.1109.

        >>> theirs, ours = torch.eye(2).unsqueeze(0) * 2**0.25, torch.ones(1, 2, 1)
        >>> [round(x, 4) for x in relation_kl(ours, theirs, heads=1).tolist()]
        [0.1109]

    Relations:
        `attention_kl` compares queries with keys and needs equal heads.

    Source: Wang et al. 2020, arXiv:2002.10957 (MiniLM), eq. 4, values; Wang et al. 2021, arXiv:2012.15828 (MiniLMv2), eq. 7.
    """
    ours, theirs = _heads(student, heads), _heads(teacher.detach(), heads)
    ours, theirs = (x @ x.transpose(2, 3) / math.sqrt(x.shape[3]) for x in (ours, theirs))
    return _kl(ours, theirs, *_checked(ours, theirs, mask, causal))


def activation_energy(tokens: Tensor) -> Tensor:
    """Mean over channels of |x|^2: how active a layer is at each position.

    Args:
        tokens: (B, N, D).

    Returns:
        (B, N), at least 0, in float32 at least.

    Example:
        >>> activation_energy(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])).tolist()
        [[12.5, 2.0]]

    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928 (attention transfer), section 3.1 (F_sum^p, over the number of channels).
    """
    return wide(tokens).abs().square().mean(dim=2)


# ---------------------------------------------------------------------------------------------------------------- inside


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, D) -> (B, H, L, D / H), in float32 at least."""
    return wide(x).unflatten(2, (heads, -1)).transpose(1, 2)


def _checked(student: Tensor, teacher: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """Which keys each query may see (B or 1, 1, L, L), and which queries are asked (B, L)."""
    if student.ndim != 4 or student.shape[2] != student.shape[3]:
        raise InputError(f"attention scores: expected (B, H, L, L), got {tuple(student.shape)}")
    same_shape("teacher's attention scores", tuple(teacher.shape), tuple(student.shape))
    B, _, L, _ = student.shape
    allowed = torch.ones(1, 1, L, L, dtype=torch.bool, device=student.device)
    if causal:
        allowed = allowed.tril()
    if mask is None:
        return allowed, torch.ones(B, L, dtype=torch.bool, device=student.device)
    if mask.dtype != torch.bool or tuple(mask.shape) != (B, L):
        raise InputError(f"mask: expected {(B, L)} of bool, got {tuple(mask.shape)} of {mask.dtype}")
    return allowed & mask[:, None, None, :], mask


def _kl(student: Tensor, teacher: Tensor, allowed: Tensor, asked: Tensor) -> Tensor:
    """(B,) mean over heads and the positions asked."""
    B, H, L, _ = student.shape
    unasked = ~asked[:, None, :, None]
    # an unasked row gets zeros before it is dropped: a softmax over nothing is NaN, and its gradient too. The same for a row
    # that may see no key (padding on the left, causal).
    blind = unasked | ~allowed.any(dim=3, keepdim=True)
    log_q, log_p = (
        x.masked_fill(~allowed, -math.inf).masked_fill(blind, 0.0).log_softmax(dim=3).flatten(0, 2)
        for x in (student, teacher)
    )
    divergence = kl_of_logs(log_p, log_q).reshape(B, H, L).mean(dim=1)
    return divergence.masked_fill(~asked, 0.0).sum(dim=1) / asked.sum(dim=1).clamp(min=1)
