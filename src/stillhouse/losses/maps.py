"""Where a layer is active, and how its tokens are mixed: maps of positions, compared whatever the widths.

Shapes: B batch, N positions, D width, H heads, L length.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.relations import without_autocast
from stillhouse.losses.values import wide

Rows = Literal["as-they-are", "unit-length"]


def activation_energy(tokens: Tensor, *, power: float = 2.0) -> Tensor:
    """Mean over channels of |x|^power: how active a layer is at each position.

    Args:
        tokens: (B, N, D).
        power: above 0; the larger, the more the strongest channel alone counts.

    Returns:
        (B, N), at least 0, in float32 at least.

    Raises:
        InputError: another shape, or a power of 0 or less.

    Example:
        >>> activation_energy(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])).tolist()
        [[12.5, 2.0]]

    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928 (attention transfer), section 3.1 (F_sum^p, over the number of channels).
    """
    if tokens.ndim != 3 or power <= 0:
        raise InputError(f"activations: expected (B, N, D) and a power above 0, got {tuple(tokens.shape)} and {power}")
    return wide(tokens).abs().pow(power).mean(dim=2)


@without_autocast
def attention_transfer(student_energy: Tensor, teacher_energy: Tensor) -> Tensor:
    """|s / |s| - t / |t||^2 of maps of activity: the student is active where its teacher is.

    Args:
        student_energy: (B, N), see `activation_energy`.
        teacher_energy: (B, N); gets no gradient.

    Returns:
        (B,): 2 - 2 cos of the two maps, in [0, 2] since no map is negative. A map of zeros has no direction and no gradient.

    Raises:
        InputError: shapes differ or are not (B, N).

    Example:
        Directions (3, 4)/5 and (1, 0): 2 - 2 * 3/5.

        >>> round(attention_transfer(torch.tensor([[3.0, 4.0]]), torch.tensor([[7.0, 0.0]])).item(), 4)
        0.8

    Relations:
        `similarity_preserving` compares samples where this compares positions.

    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928, eq. 2; the square of its norm, as in the released code.
    """
    same_shape("teacher", tuple(teacher_energy.shape), tuple(student_energy.shape))
    if student_energy.ndim != 2:
        raise InputError(f"maps: expected (B, N), got {tuple(student_energy.shape)}")
    return (_unit(student_energy) - _unit(teacher_energy.detach())).square().sum(dim=1)


@without_autocast
def mixing_distance(
    student: Tensor, teacher: Tensor, *, rows: Rows = "as-they-are", asked: Tensor | None = None
) -> Tensor:
    """Squared difference of two mixing matrices, summed over a row and averaged over rows and heads.

    Args:
        student: (B, H, L, L), real or complex: what position s (last axis) adds to position t.
        teacher: the same shape; gets no gradient.
        rows: as they are (attention's sum to 1), or brought to unit length first: for a recurrence whose output is normalized
            after it, the size of a row means nothing.
        asked: (B, L) bool, the rows that count; all if None.

    Returns:
        (B,).

    Raises:
        InputError: shapes differ or are not (B, H, L, L).

    Example:
        One row off by (1/2, -1/2), the other right: (1/4 + 1/4 + 0) / 2.

        >>> a, b = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]]), torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
        >>> mixing_distance(a, b).item()
        0.25

    Relations:
        `attention_kl` compares rows as distributions, which those of a recurrence are not.

    Source: Bick et al. 2024, arXiv:2408.10189 (MOHAWK), stage 1: matrix orientation.
    """
    same_shape("teacher", tuple(teacher.shape), tuple(student.shape))
    if student.ndim != 4 or student.shape[2] != student.shape[3]:
        raise InputError(f"mixing matrices: expected (B, H, L, L), got {tuple(student.shape)}")
    teacher = teacher.detach()
    if rows == "unit-length":
        student, teacher = _unit(student), _unit(teacher)
    gap = student - teacher
    row = (gap.real.square() + gap.imag.square() if gap.is_complex() else wide(gap).square()).sum(dim=3).mean(dim=1)
    if asked is None:
        return row.mean(dim=1)
    return (row * asked).sum(dim=1) / asked.sum(dim=1).clamp(min=1)


def _unit(x: Tensor) -> Tensor:
    """Vectors of the last axis at length 1; those of zeros as they are."""
    x = x if x.is_complex() else wide(x)
    scale = x.detach().abs().amax(dim=-1, keepdim=True)
    x = x / torch.where(scale > 0, scale, 1.0)
    square = (x.abs().square() if x.is_complex() else x.square()).sum(dim=-1, keepdim=True)
    return x / torch.where(square > 0, square, 1.0).sqrt()
