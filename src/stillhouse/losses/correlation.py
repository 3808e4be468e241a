"""Relations between scores in place of the scores themselves: correlation along rows and columns (DIST), and who is judged alike.

Shapes: B batch, K classes, N vectors, D their length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.softened import softened, wide

LARGEST = (
    4096  # rows up to which a matrix of all pairs is made; beyond it the smaller side's products give the same number
)


def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson correlation of the last axis: 0 exactly where student = a teacher + b with a > 0.

    Args:
        student: (N, D).
        teacher: (N, D), the same shape; gets no gradient.

    Returns:
        (N,) in [0, 2]. A teacher's vector of equal numbers has no relation to be learned: 0, without gradient. A student's
        one has correlation 0: 1, with a gradient towards the teacher's pattern.

    Raises:
        InputError: shapes differ, are not (N, D), or D < 2.

    Example:
        (1, 2, 3) against (1, 2, 6): covariance 5/3, variances 2/3 and 14/3, r = 0.9449.

        >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 6.0]])
        >>> round(pearson_distance(a, b).item(), 4)
        0.0551

    Relations:
        `cosine_distance` of vectors with their means taken off.

    Source: Huang et al. 2022, arXiv:2205.10536 (DIST), section 3.
    """
    same_shape("teacher", tuple(teacher.shape), tuple(student.shape))
    if student.ndim != 2 or student.shape[1] < 2:
        raise InputError(f"vectors to correlate: expected (N, D) with D at least 2, got {tuple(student.shape)}")
    return _distance(wide(student), wide(teacher.detach()))


def dist_inter(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Per sample, 1 - correlation of student's and teacher's probabilities over classes.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        (B,) in [0, 2], not times T^2: see `dist_relations`.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Probabilities (2, 1, 1)/4 and (3, 2, 2)/7: an affine map of each other.

        >>> a, b = torch.tensor([[2.0, 1.0, 1.0]]).log(), torch.tensor([[3.0, 2.0, 2.0]]).log()
        >>> abs(round(dist_inter(a, b).item(), 4))
        0.0

    Source: Huang et al. 2022, arXiv:2205.10536 (DIST), eq. 7.
    """
    log_q, log_p, _ = softened(student_logits, teacher_logits, temperature)
    return _distance(log_q.exp(), log_p.exp())


def dist_intra(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Per class, 1 - correlation of student's and teacher's probabilities over the samples of the batch; their mean.

    Args:
        student_logits: (B, K) with B at least 3: two points are always on a line.
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        0-d in [0, 2]: it is defined on the batch, and small batches are noisy.

    Raises:
        InputError: fewer than 3 samples, or as `forward_kl`.

    Example:
        The student ranks the three samples just the other way round.

        >>> p = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]])
        >>> round(dist_intra(p.flip(0).log(), p.log()).item(), 4)
        2.0

    Source: Huang et al. 2022, arXiv:2205.10536 (DIST), eq. 9.
    """
    log_q, log_p, _ = softened(student_logits, teacher_logits, temperature)
    if len(log_q) < 3:
        raise InputError(
            f"dist, relations within a class: expected a batch of at least 3 samples, got {len(log_q)}; take a larger batch "
            "(a last one that is too small may be dropped), or intra_weight 0"
        )
    return _distance(log_q.exp().t(), log_p.exp().t()).mean()


def dist_relations(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """inter_weight * mean of `dist_inter` + intra_weight * `dist_intra`: a strong teacher is followed in its relations only.

    Not multiplied by T^2: a correlation does not shrink as T grows, it tends to that of the raw logits. (Published recipes that
    multiply it by T^2 at T = 4 have 16 times the weight.)

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).
        inter_weight: factor of the relations between classes; 0 leaves them out.
        intra_weight: factor of the relations within a class over the batch; 0 leaves them out.

    Returns:
        0-d: what is within a class is defined on the batch only.

    Raises:
        InputError: fewer than 3 samples with an intra_weight; as `forward_kl`.

    Example:
        A student whose probabilities are the teacher's half-way to uniform has lost nothing.

        >>> p = torch.tensor([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
        >>> abs(round(dist_relations((0.5 * p + 0.25).log(), p.log()).item(), 4))
        0.0

    Relations:
        `forward_kl` wants equal probabilities.

    Source: Huang et al. 2022, arXiv:2205.10536 (DIST; T = 1, both weights 1, or 2 with ImageNet).
    """
    total = torch.zeros((), dtype=wide(student_logits).dtype, device=student_logits.device)
    if inter_weight > 0:
        total = total + inter_weight * dist_inter(student_logits, teacher_logits, temperature=temperature).mean()
    if intra_weight > 0:
        total = total + intra_weight * dist_intra(student_logits, teacher_logits, temperature=temperature)
    return total


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """(N,); the teacher's side is not detached here, since a learned temperature has a gradient through both."""
    ours, _ = _direction(ours)
    theirs, flat = _direction(theirs)
    return (1 - (ours * theirs).sum(dim=1)) * ~flat  # not `where`: a student's NaN must stay one


def _direction(x: Tensor) -> tuple[Tensor, Tensor]:
    """Centered rows (N, D) of length 1, and which (N,) have no direction since all their numbers are equal (kept centered).

    Lengths are taken relative to a row's largest number: in float32 the squares of probabilities of rare classes underflow, and
    a fixed epsilon would cut those classes off.
    """
    scale = x.detach().abs().amax(dim=1, keepdim=True)
    x = x / torch.where(scale > 0, scale, 1.0)
    centered = x - x.mean(dim=1, keepdim=True)
    square = centered.square().sum(dim=1, keepdim=True)
    flat = square <= x.shape[1] * (4 * torch.finfo(x.dtype).eps) ** 2
    return centered / torch.where(flat, 1.0, square).sqrt(), flat.squeeze(1)
