"""Distances between what two networks put out, per sample.

Shapes: B batch, K classes, D width, ... positions (tokens, pixels), possibly none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.softened import wide


def mse_logits(student_logits: Tensor, teacher_logits: Tensor, *, centered: bool = False) -> Tensor:
    """Mean squared difference of logits; `centered` removes each row's mean, which no softmax sees.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        centered: compare up to a constant a row.

    Returns:
        (B,). T^2 `forward_kl` tends to half of the centered form as T grows. A class that the teacher rules out (-inf) has no
        score to be matched: it counts neither as error nor as number. One that only the student rules out makes it infinite.

    Raises:
        InputError: shapes differ or are not (B, K).

    Example:
        >>> a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]])
        >>> mse_logits(a, b).item(), mse_logits(a, b, centered=True).item()
        (5.0, 1.0)

    Relations:
        `forward_kl` compares probabilities instead, with a temperature.

    Source: Ba, Caruana 2014, arXiv:1312.6184; Kim et al. 2021, arXiv:2105.08919.
    """
    same_shape("teacher logits", tuple(teacher_logits.shape), tuple(student_logits.shape))
    if student_logits.ndim != 2 or student_logits.shape[1] == 0:
        raise InputError(f"logits: expected (B, K), got {tuple(student_logits.shape)}")
    s, t = wide(student_logits), wide(teacher_logits.detach())
    ruled_out = (t == -math.inf) & ~s.isnan()  # a student's NaN must stay one
    count = (~ruled_out).sum(dim=1)
    gap = (s - t).masked_fill(ruled_out, 0.0)
    if centered:
        mean = gap.sum(dim=1) / count
        gap = (gap - mean.unsqueeze(1)).masked_fill(ruled_out, 0.0)
    return gap.square().sum(dim=1) / count


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over all positions and channels; the plain choice for hidden features.

    Args:
        student: (B, ..., D).
        teacher: (B, ..., D), the same shape; gets no gradient.

    Returns:
        (B,) in squared units of the features: a mean, so the weight does not depend on their number.

    Raises:
        InputError: shapes differ, are not (B, ..., D), or nothing is in them.

    Example:
        (1 + 9) / 2 = 5.

        >>> mse(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)).item()
        5.0

    Relations:
        `smooth_l1` where single channels are huge; `cosine_distance` where only the direction counts.

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """
    return _per_sample(nn.functional.mse_loss(*_pair(student, teacher), reduction="none"))


def smooth_l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared near 0, absolute beyond 1: outlying channels do not rule.

    Args:
        student: (B, ..., D).
        teacher: (B, ..., D), the same shape; gets no gradient.

    Returns:
        (B,), the mean over positions and channels.

    Raises:
        InputError: shapes differ, are not (B, ..., D), or nothing is in them.

    Example:
        (3 - 1/2 + 0) / 2 = 1.25.

        >>> smooth_l1(torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2)).item()
        1.25

    Relations:
        `mse` (halved) for gaps below 1.

    Source: Huber 1964; Girshick 2015, arXiv:1504.08083.
    """
    return _per_sample(nn.functional.smooth_l1_loss(*_pair(student, teacher), reduction="none"))


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine over the last axis, averaged over positions: direction without length.

    Args:
        student: (B, ..., D).
        teacher: (B, ..., D), the same shape; gets no gradient.

    Returns:
        (B,) in [0, 2]. A vector of zeros (a position where no unit fires) has no direction: it is at 1, without gradient.

    Raises:
        InputError: shapes differ, are not (B, ..., D), or nothing is in them.

    Example:
        Half a right angle: 1 - cos 45° = 0.2929.

        >>> round(cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item(), 4)
        0.2929

    Relations:
        `mse` times D / 2, for vectors of length 1; half of `normalized_mse`.

    Source: Sanh et al. 2019, arXiv:1910.01108 (DistilBERT).
    """
    s, t = _pair(student, teacher)
    return _per_sample(1 - (_direction(s) * _direction(t)).sum(dim=-1))


def normalized_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of vectors brought to length 1, averaged over positions: what patient distillation compares.

    Args:
        student: (B, ..., D).
        teacher: (B, ..., D), the same shape; gets no gradient.

    Returns:
        (B,) in [0, 4]: summed over D, since vectors of length 1 shrink with their width otherwise. A vector of zeros stays
        one, without gradient.

    Raises:
        InputError: shapes differ, are not (B, ..., D), or nothing is in them.

    Example:
        (1, 0) and (0, 1) after their lengths are taken off: 1 + 1.

        >>> normalized_mse(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 5.0]])).item()
        2.0

    Relations:
        Twice `cosine_distance`, for vectors that are not zero; `mse` where lengths carry meaning.

    Source: Sun et al. 2019, arXiv:1908.09355 (Patient Knowledge Distillation), section 3.2.
    """
    s, t = _pair(student, teacher)
    return _per_sample((_direction(s) - _direction(t)).square().sum(dim=-1))


def _direction(x: Tensor) -> Tensor:
    """Length 1 over the last axis; zeros stay zeros, where x / max(|x|, 1e-8) has a gradient of 1e8."""
    squares = x.square().sum(dim=-1, keepdim=True)
    dead = squares == 0  # NaN is not, and stays
    return x / torch.where(dead, torch.ones_like(squares), squares).sqrt() * ~dead


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in float32 at least, the teacher's without gradient."""
    same_shape("teacher features", tuple(teacher.shape), tuple(student.shape))
    if student.ndim < 2 or student.numel() == 0:
        raise InputError(f"features: expected (B, ..., D) with at least one number, got {tuple(student.shape)}")
    return wide(student), wide(teacher.detach())


def _per_sample(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(dim=1)


def label_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, per sample, in float32 (float64 stays).

    Args:
        logits: (B, K).
        labels: (B,) int64, or (B, K) shares of the classes (of mixed images).
        smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        (B,) in nats.

    Raises:
        ValueError, RuntimeError: of torch: shapes do not fit, labels (B,) are not whole numbers.

    Example:
        Four equal scores: ln 4 whatever the label.

        >>> import torch
        >>> [round(x, 4) for x in label_cross_entropy(torch.zeros(1, 4), torch.tensor([2])).tolist()]
        [1.3863]

    Relations:
        The supervised partner of `forward_kl`, which takes a teacher's probabilities in place of labels.

    Source: Szegedy et al. 2016, arXiv:1512.00567 (label smoothing).
    """
    # floats (B,) stay floats, of which torch says that they are no classes
    target = labels.to(wide(logits).dtype) if labels.is_floating_point() else labels.long()
    return nn.functional.cross_entropy(wide(logits), target, reduction="none", label_smoothing=smoothing)
