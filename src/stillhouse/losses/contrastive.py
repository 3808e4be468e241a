"""Contrastive losses: which of the batch belongs together. Shapes: B batch, D width, K classes."""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.relations import unit_rows
from stillhouse.losses.softened import everywhere, wide, without_autocast


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
        InputError: shapes differ, fewer than 2 rows, or a temperature that is not positive.

    Example:
        Right-angled and right: ln(1 + e^-1) at temperature 1.

        >>> [round(x, 4) for x in contrastive_distillation(torch.eye(2), torch.eye(2), temperature=1.0).tolist()]
        [0.3133, 0.3133]

    Relations:
        `stillhouse.losses.relations.pkt` compares whole distributions over the batch instead of picking one.

    Source: Tian et al. 2020, arXiv:1910.10699 (CRD), with the batch in place of its memory bank; van den Oord et al. 2018,
        arXiv:1807.03748 (InfoNCE).
    """
    same_shape("teacher embeddings", tuple(teacher.shape), tuple(student.shape))
    _check_rows(student, "contrastive distillation", temperature)
    cosines = unit_rows(wide(student)) @ unit_rows(wide(teacher.detach())).t() / temperature
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
        InputError: features not (B, D) or fewer than 2, labels of another number, not integers, or no distributions, or a
            temperature that is not positive.

    Example:
        Two pairs at a right angle: -ln(e / (e + 2)) at temperature 1.

        >>> pairs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(supervised_contrastive(pairs, torch.tensor([0, 0, 1, 1]), temperature=1.0)[0].item(), 4)
        0.5514

    Relations:
        `contrastive_distillation` takes a teacher in place of labels.

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (the sum outside the logarithm).
    """
    _check_rows(features, "supervised contrastive", temperature)
    together = _together(labels, len(features))
    same = torch.eye(len(features), dtype=torch.bool, device=features.device)
    unit = unit_rows(wide(features))
    log_share = (unit @ unit.t() / temperature).masked_fill(same, -torch.inf).log_softmax(dim=1).masked_fill(same, 0.0)
    weight = together.to(log_share.dtype).masked_fill(same, 0.0)
    total = weight.sum(dim=1)
    return -(weight * log_share).sum(dim=1) / total.masked_fill(total == 0, 1.0)


def _check_rows(x: Tensor, what: str, temperature: float) -> None:
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{what}: expected (B, D), got {tuple(x.shape)}")
    if len(x) < 2:
        raise InputError(
            f"{what}: expected a batch of at least 2 samples, got {len(x)}; take a larger batch "
            "(a last one that is too small may be dropped)"
        )
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature: expected positive and finite, got {temperature}")


def _together(labels: Tensor, rows: int) -> Tensor:
    """(B, B) chance that two samples, each drawn from its label distribution, are of one class."""
    if len(labels) != rows or labels.ndim not in (1, 2):
        raise InputError(f"labels: expected ({rows},) or ({rows}, K), got {tuple(labels.shape)}")
    if labels.ndim == 1:
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise InputError(f"labels: expected class numbers as integers, or distributions (B, K), got {labels.dtype}")
        return labels[:, None] == labels[None, :]
    labels = wide(labels)
    if not everywhere(labels >= 0) or not everywhere((labels.sum(dim=1) - 1).abs() < 1e-3):
        raise InputError("labels: expected rows of numbers from 0 that add up to 1")
    return labels @ labels.t()
