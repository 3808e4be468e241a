"""Predictions of a batch against each other: which samples are judged alike, which classes go together (multi-level KD).

Shapes: B batch, K classes. P and Q are the probabilities (B, K) of teacher and student at temperature T.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.relations import without_autocast
from stillhouse.losses.softened import softened

LARGEST = (
    4096  # rows up to which a matrix of all pairs is made; beyond it the smaller side's products give the same number
)


@without_autocast
def sample_relations(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """|Q Q^T - P P^T|^2 / B: how alike two samples are judged, for all pairs of a batch.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        0-d; not times T^2, since the products of probabilities have a size of their own at any T.

    Raises:
        InputError: as `forward_kl`.

    Example:
        The teacher judges two samples oppositely, the student alike: two entries off by 1, over 2 samples.

        >>> sure = torch.tensor([[0.0, -99.0], [-99.0, 0.0]])
        >>> sample_relations(sure[[0, 0]], sure).item()
        1.0

    Relations:
        `similarity_preserving` does this to features, with normalized rows.

    Source: Jin, Wang, Lin 2023, CVPR "Multi-level Logit Distillation", eq. 6 and 7.
    """
    q, p = _probabilities(student_logits, teacher_logits, temperature)
    # rows that sum to 1 have products of 1/K more than those of what is above and below 1/K, which alone differ between the sides
    return _gap(q - 1 / q.shape[1], p - 1 / p.shape[1]) / len(q)


@without_autocast
def class_relations(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """|Q^T Q - P^T P|^2 / K: which classes are taken for each other, over a batch; it grows with the batch's square.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperature: a positive number, or (B,).

    Returns:
        0-d; not times T^2.

    Raises:
        InputError: as `forward_kl`.

    Example:
        Both give one sample to each of two classes, in another order: no difference between classes.

        >>> sure = torch.tensor([[0.0, -99.0], [-99.0, 0.0]])
        >>> class_relations(sure.flip(0), sure).item()
        0.0

    Relations:
        `dist_intra` correlates each class with itself on the other side.

    Source: Jin, Wang, Lin 2023, CVPR "Multi-level Logit Distillation", eq. 8 and 9.
    """
    q, p = _probabilities(student_logits, teacher_logits, temperature)
    return _gap(q.t(), p.t()) / q.shape[1]


def multi_level(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance_weight: float = 1.0,
    sample_weight: float = 1.0,
    class_weight: float = 1.0,
) -> Tensor:
    """Mean over temperatures of instance_weight `forward_kl` + sample_weight `sample_relations` + class_weight `class_relations`.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient.
        temperatures: at which predictions are compared.
        instance_weight: factor of the KL of each sample.
        sample_weight: factor of the relations between samples.
        class_weight: factor of the relations between classes.

    Returns:
        0-d.

    Raises:
        InputError: no temperature, a negative weight or none above 0; as `forward_kl`.

    Example:
        >>> z = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
        >>> multi_level(z + 1, z).abs().item() < 1e-6  # a constant on all scores changes no probability
        True

    Source: Jin, Wang, Lin 2023, CVPR "Multi-level Logit Distillation".
    """
    weights = (instance_weight, sample_weight, class_weight)
    if not temperatures:
        raise InputError("temperatures: expected one at least, got none")
    if min(weights) < 0 or max(weights) == 0:
        raise InputError(
            f"instance_weight, sample_weight, class_weight: expected none below 0 and one above, got {weights}"
        )
    parts = []
    for temperature in temperatures:
        if instance_weight > 0:
            parts.append(instance_weight * forward_kl(student_logits, teacher_logits, temperature=temperature).mean())
        if sample_weight > 0:
            parts.append(sample_weight * sample_relations(student_logits, teacher_logits, temperature=temperature))
        if class_weight > 0:
            parts.append(class_weight * class_relations(student_logits, teacher_logits, temperature=temperature))
    return torch.stack(parts).sum() / len(temperatures)


def _probabilities(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    log_q, log_p, _ = softened(student, teacher, temperature)
    return log_q.exp(), log_p.exp()


def _gap(q: Tensor, p: Tensor) -> Tensor:
    """|q q^T - p p^T|^2 of (n, d), without a matrix (n, n) where n is large: |q^T q|^2 - 2 |q^T p|^2 + |p^T p|^2."""
    if len(q) <= max(LARGEST, q.shape[1]):
        return (q @ q.t() - p @ p.t()).square().sum()
    return (q.t() @ q).square().sum() - 2 * (q.t() @ p).square().sum() + (p.t() @ p).square().sum()
