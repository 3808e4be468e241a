"""Who of a batch is near whom, as the teacher has it or as the labels have it.

Shapes: B batch, D width of either side, K classes. Every loss is (B,) and unchanged when either side is rotated; a row is never its
own neighbor (its distance 0 would outweigh all). The two KLs are 0 at their least and see only who is near: two widths need nothing
in common.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.relations import unit_rows
from stillhouse.losses.softened import compared_rows, wide, without_autocast

BISECTIONS = 40  # halvings of the bandwidth: 2^-40 of the first bracket
NOBODY = -1e30  # score of a row that is no candidate: exp of it is 0, and 0 times it is no NaN


@without_autocast
def neighbor_kl(
    student: Tensor, teacher: Tensor, *, perplexity: float = 10.0, degrees: float = math.inf, nearest: int | None = None
) -> Tensor:
    """KL(P_i || Q_i) of each row's neighbors: P Gaussian with as many effective neighbors in every row, Q of the student.

    P_i(j) is proportional to exp(-b_i |t_i - t_j|^2), where b_i is found by bisection so that exp(H(P_i)) is the perplexity:
    a dense and a sparse region teach alike. Q_i(j) is proportional to exp(-|s_i - s_j|^2), or to a Student t of `degrees`.
    Many dimensions do not fit into few without crowding; a tail lets what is far move further away.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient. Rows of length 1 make the distance a cosine.
        perplexity: effective number of neighbors, at least 1 and below the number of candidates.
        degrees: inf is Gaussian, 1 Cauchy (as t-SNE), d of a d-dimensional student lies between: Q falls as |.|^-(degrees + 1).
        nearest: P is kept on so many nearest candidates only (3 times the perplexity is usual); Q is over all. None: all.

    Returns:
        (B,) in nats.

    Raises:
        InputError: not two matrices of as many rows, fewer than 3, or degrees or perplexity out of range.

    Example:
        At perplexity 2 of two candidates P is (1/2, 1/2); a student with squared distances 0 and ln 3 has Q = (3/4, 1/4):
        KL = 1/2 ln 2/3 + 1/2 ln 2 = 0.1438.

        >>> ours = torch.tensor([[0.0], [0.0], [math.log(3) ** 0.5]])
        >>> round(neighbor_kl(ours, torch.eye(3), perplexity=2.0)[0].item(), 4)
        0.1438

    Relations:
        `cosine_neighbor_kl` has one temperature in place of the bandwidths. `rkd_distance` sees far pairs, this one near ones.

    Source: Hinton, Roweis 2002 (SNE); van der Maaten, Hinton 2008 (t-SNE); van der Maaten 2009 (parametric, degrees of
    freedom); van der Maaten 2014, arXiv:1301.3342 (three times the perplexity).
    """
    ours, theirs = map(wide, compared_rows(student, teacher, "neighbors", 3))
    if not degrees > 0:
        raise InputError(f"degrees: expected a number above 0 (inf: Gaussian), got {degrees}")
    own = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    with torch.no_grad():
        log_p, columns = _teacher_side(squared_distances(theirs).masked_fill(own, math.inf), perplexity, nearest)
    scores = squared_distances(ours)
    scores = -scores if math.isinf(degrees) else -(degrees + 1) / 2 * torch.log1p(scores / degrees)
    scores = scores.masked_fill(own, NOBODY)
    p = log_p.exp()
    log_q = scores.gather(1, columns) - scores.logsumexp(dim=1, keepdim=True)
    return (p * (log_p.clamp(min=NOBODY) - log_q)).sum(dim=1)


@without_autocast
def cosine_neighbor_kl(student: Tensor, teacher: Tensor, *, tau: float = 0.1) -> Tensor:
    """tau^2 KL(P_i || Q_i) of each row's softmax over its cosines with the others, at a temperature.

    The lower tau, the fewer neighbors count: 4 compares all pairs, nearly by squares; 0.05 only the nearest.

    Args:
        student: (B, Ds).
        teacher: (B, Dt); gets no gradient.
        tau: divides the cosines.

    Returns:
        (B,) in nats times tau^2. 0 where all cosines are equal, so under any rotation and any scale of a row.

    Raises:
        InputError: not two matrices of as many rows, fewer than 3 (one other row has probability 1 on both sides), or a
            temperature that is not positive and finite.

    Example:
        Teacher: all at right angles, P = (1/2, 1/2). Student row 0: cosines 1 and 0; at tau 1 Q = (0.731, 0.269);
        KL = -ln 2 - (ln 0.731 + ln 0.269) / 2 = 0.1201.

        >>> ours = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> round(cosine_neighbor_kl(ours, torch.eye(3), tau=1.0)[0].item(), 4)
        0.1201

    Relations:
        `neighbor_kl` gives every row its own bandwidth.

    Source: Passalis, Tefas 2018, arXiv:1803.10837 (PKT); with the softmax of Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    ours, theirs = map(wide, compared_rows(student, teacher, "neighbors", 3))
    if not 0 < tau < math.inf:
        raise InputError(f"tau: expected a positive number, got {tau}")
    own = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    log_q, log_p = (
        (unit @ unit.t() / tau).masked_fill(own, NOBODY).log_softmax(dim=1)
        for unit in (unit_rows(ours), unit_rows(theirs))
    )
    value: Tensor = (log_p.exp() * (log_p - log_q)).masked_fill(own, 0.0).sum(dim=1)
    return value * tau**2


def row_log_probabilities(distances: Tensor, perplexity: float) -> tuple[Tensor, Tensor]:
    """Gaussian neighbor distributions of a given perplexity: the bandwidth of each row by bisection.

    Args:
        distances: (B, N) squared distances; inf: no candidate.
        perplexity: exp of the entropy that every row is given, from 1 to its number of candidates.

    Returns:
        log P (B, N), and b (B, 1) with P_i(j) proportional to exp(-b_i distance). A row whose nearest candidates tie cannot
        get below their number: it gets as near as it can.

    Example:
        >>> log_p, _ = row_log_probabilities(torch.tensor([[0.0, 1.0, 4.0, 9.0]]), 2.0)
        >>> round(math.exp(-(log_p.exp() * log_p).sum().item()), 3)
        2.0

    Source: Hinton, Roweis 2002 (SNE), section 2.
    """
    # taken from the nearest: the same distribution, and exp never underflows in a whole row
    distances = distances - distances.amin(dim=1, keepdim=True)
    none = distances.isinf()
    finite = distances.masked_fill(none, 0.0)
    count = (~none).sum(dim=1, keepdim=True)
    b = count / finite.sum(dim=1, keepdim=True).clamp(min=torch.finfo(distances.dtype).tiny)
    low, high = torch.zeros_like(b), torch.full_like(b, math.inf)
    for _ in range(BISECTIONS):
        weights = (-b * finite).exp().masked_fill(none, 0.0)
        total = weights.sum(dim=1, keepdim=True)
        entropy = total.log() + b * (weights * finite).sum(dim=1, keepdim=True) / total
        broad = entropy > math.log(perplexity)
        low, high = torch.where(broad, b, low), torch.where(broad, high, b)
        b = torch.where(high.isinf(), b * 2, (low + high) / 2).clamp(max=torch.finfo(b.dtype).max / 4)
    return (-b * finite).masked_fill(none, -math.inf).log_softmax(dim=1), b


def squared_distances(x: Tensor) -> Tensor:
    """(B, B) squared Euclidean distances, at least 0; taken from the mean, so that an offset costs no digits.

    Example:
        >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [[0.0, 25.0], [25.0, 0.0]]
    """
    x = wide(x)
    x = x - x.mean(dim=0)
    square = x.square().sum(dim=1)
    return (square[:, None] + square[None, :] - 2 * (x @ x.t())).clamp(min=0)


def _teacher_side(distances: Tensor, perplexity: float, nearest: int | None) -> tuple[Tensor, Tensor]:
    """log P (B, k), and the columns (B, k) it belongs to."""
    B = distances.shape[1]
    k = B if nearest is None else min(nearest, B)
    if not 1 <= perplexity <= min(k, B - 1):
        raise InputError(f"perplexity: expected 1 to the number of candidates ({min(k, B - 1)}), got {perplexity:g}")
    columns = torch.arange(B, device=distances.device).expand(len(distances), B)
    if k < B:
        distances, columns = distances.topk(k, dim=1, largest=False)
    return row_log_probabilities(distances, perplexity)[0], columns


@without_autocast
def contrastive_distillation(student: Tensor, teacher: Tensor, *, temperature: float = 0.1) -> Tensor:
    """InfoNCE: each student embedding must find its own sample's teacher embedding among all of the batch.

    It cannot be won by a collapsed student, and wants no equal values, only that the own teacher is the nearest.

    Args:
        student: (B, D), projected to the teacher's width.
        teacher: (B, D); gets no gradient.
        temperature: divides the cosines.

    Returns:
        (B,) in nats, a cross-entropy: ln B where nothing is distinguished, and above 0 for equal embeddings too.

    Raises:
        InputError: shapes differ, or fewer than 2 rows.

    Example:
        Right-angled and right: ln(1 + e^-1) at temperature 1.

        >>> [round(x, 4) for x in contrastive_distillation(torch.eye(2), torch.eye(2), temperature=1.0).tolist()]
        [0.3133, 0.3133]

    Relations:
        `pkt` compares whole distributions over the batch instead of picking one.

    Source: Tian et al. 2020, arXiv:1910.10699 (CRD), with the batch in place of its memory bank; van den Oord et al. 2018,
        arXiv:1807.03748 (InfoNCE).
    """
    same_shape("teacher embeddings", tuple(teacher.shape), tuple(student.shape))
    ours, theirs = map(wide, compared_rows(student, teacher, "contrastive distillation", 2))
    cosines = unit_rows(ours) @ unit_rows(theirs).t() / temperature
    return -cosines.log_softmax(dim=1).diagonal()


@without_autocast
def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Embeddings of one class together, of others apart; with mixed labels, as much together as the labels are.

    Two samples belong together by the inner product of their label distributions: 0 or 1 for hard labels, so that the loss is
    the published one, and the chance of drawing the same class under mixup, where hard labels would be wrong for both parts.

    Args:
        features: (B, D).
        labels: (B,) class numbers, or (B, K) distributions.
        temperature: divides the cosines.

    Returns:
        (B,) in nats. A sample that shares no class with another has nothing to come near to: 0.

    Raises:
        InputError: features not (B, D) or fewer than 2, labels of another number, not integers, or no distributions.

    Example:
        Two pairs at a right angle: -ln(e / (e + 2)) at temperature 1.

        >>> pairs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(supervised_contrastive(pairs, torch.tensor([0, 0, 1, 1]), temperature=1.0)[0].item(), 4)
        0.5514

    Relations:
        `contrastive_distillation` takes a teacher in place of labels.

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (the sum outside the logarithm).
    """
    compared_rows(features, features, "supervised contrastive", 2)
    together = _together(labels, len(features))
    same = torch.eye(len(features), dtype=torch.bool, device=features.device)
    unit = unit_rows(wide(features))
    log_share = (unit @ unit.t() / temperature).masked_fill(same, -torch.inf).log_softmax(dim=1).masked_fill(same, 0.0)
    weight = together.to(log_share.dtype).masked_fill(same, 0.0)
    total = weight.sum(dim=1)
    return -(weight * log_share).sum(dim=1) / total.masked_fill(total == 0, 1.0)


def _together(labels: Tensor, rows: int) -> Tensor:
    """(B, B) chance that two samples, each drawn from its label distribution, are of one class."""
    if len(labels) != rows or labels.ndim not in (1, 2):
        raise InputError(f"labels: expected ({rows},) or ({rows}, K), got {tuple(labels.shape)}")
    if labels.ndim == 1:
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise InputError(f"labels: expected class numbers as integers, or distributions (B, K), got {labels.dtype}")
        return labels[:, None] == labels[None, :]
    labels = wide(labels)
    if not ((labels >= 0).all() and ((labels.sum(dim=1) - 1).abs() < 1e-3).all()):
        raise InputError("labels: expected rows of numbers from 0 that add up to 1")
    return labels @ labels.t()
