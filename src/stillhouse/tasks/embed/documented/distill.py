"""The document's losses: `distill_loss`, `kl_distill_loss`, their mix with a reconstruction, and one curriculum step.

Shapes: B batch, Ds and Dt widths of student and teacher, K classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.neighbours import cosine_neighbor_kl
from stillhouse.losses.relations import without_autocast
from stillhouse.losses.values import wide

Reduction = Literal["mean", "sum"]
LEAST = 3  # rows that a relation needs
EPS = 1e-8  # least length that a row is divided by, so that a zero row has a bounded gradient


@without_autocast
def distill_loss(student_vec: Tensor, teacher_vec: Tensor, tau: float = 0.1, reduction: Reduction = "mean") -> Tensor:
    """How far a student's vectors are from a teacher's: directions where widths are equal, relations where they are not.

    Of unequal widths no coordinate has anything to do with another. The document's code cut both to the shorter width, which
    ties the student to the teacher's first few coordinates, and never read `tau`, so that its curriculum changed nothing. Here
    each row's softmax over its cosines with the other rows is compared, at temperature tau: its gradient turns with tau.

    Args:
        student_vec: (B, Ds); more leading axes are read as one batch.
        teacher_vec: (B, Dt); gets no gradient. A row of zeros has no direction to learn, and is left out.
        tau: temperature of the cosines of unequal widths (cosines of equal widths have none, as documented).
        reduction: `mean` over the batch, or `sum`: B times the mean.

    Returns:
        0-d, in float32 at least, 0 at its least.

    Raises:
        InputError: shapes or devices that do not fit, too few rows for a relation, NaN in the teacher, unknown reduction.

    Example:
        Equal widths: the same direction 0, a right angle 1, the opposite 2.

        >>> s = torch.tensor([[3.0, 0.0]])
        >>> [distill_loss(s, torch.tensor([t])).item() for t in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])]
        [0.0, 1.0, 2.0]

    Relations:
        `stillhouse.losses.neighbours.neighbor_kl` has a bandwidth for every row, and is what `stillhouse embed distill` trains.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531 (temperature); Passalis, Tefas 2018, arXiv:1803.10837 (neighbors).
    """
    if reduction not in get_args(Reduction):
        raise InputError(f"reduction must be 'mean' or 'sum', got {reduction}")
    if not isinstance(tau, (int, float)) or not tau > 0:
        raise InputError(f"tau must be positive, got {tau!r}")
    student, teacher = _flat(student_vec, teacher_vec)
    kept = _directed(teacher.detach())
    student, teacher = student[kept], teacher.detach()[kept]
    if student.shape[1] == teacher.shape[1]:
        mean = (1 - (_unit(student) * _unit(teacher)).sum(dim=1)).mean()
    elif len(student) < LEAST:
        raise InputError(
            f"batch: of unequal widths rows are compared with each other, which needs at least {LEAST} (with a direction), "
            f"got a batch of {len(student)}"
        )
    else:
        mean = cosine_neighbor_kl(student, teacher, tau=tau).mean()
    return mean * len(student) if reduction == "sum" else mean


def kl_distill_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    tau: float = 1.0,
    reduction: Literal["mean", "sum", "none", "batchmean", "elementmean"] = "mean",
    *,
    scale_tau2: bool = True,
) -> Tensor:
    """tau^2 KL(teacher || student) of softened class distributions, averaged over the batch.

    The document's `mean` divides by the number of classes as well (PyTorch's), and has no tau^2, so that its weight falls with
    both; `reduction="elementmean", scale_tau2=False` gives that number.

    Args:
        student_logits: (B, K); more leading axes are read as one batch.
        teacher_logits: (B, K); gets no gradient. A class of -inf is ruled out.
        tau: temperature, above 0.
        reduction: `mean` and `batchmean`: over the B rows. `elementmean`: over B K. `sum`, `none`: (B,).
        scale_tau2: multiply by tau^2, so that the gradient keeps its size as tau changes.

    Returns:
        0-d, or (B,) for `none`, in nats.

    Raises:
        InputError: shapes differ, tau not positive, unknown reduction.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308; the document's number is half of it.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> round(kl_distill_loss(q, p).item(), 4), round(kl_distill_loss(q, p, reduction="elementmean").item(), 4)
        (0.1308, 0.0654)

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    known = ("mean", "batchmean", "elementmean", "sum", "none")
    if reduction not in known:
        raise InputError(f"reduction must be one of {', '.join(known)}, got {reduction}")
    if not isinstance(tau, (int, float)) or not tau > 0:
        raise InputError(f"tau must be positive, got {tau!r}")
    student, teacher = _flat(student_logits, teacher_logits)
    rows = forward_kl(student, teacher, temperature=tau)
    rows = rows if scale_tau2 else rows / tau**2
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    return rows.mean() / student.shape[1] if reduction == "elementmean" else rows.mean()


def combined_distill_loss(
    student_vec: Tensor,
    teacher_vec: Tensor,
    reconstruction_loss: Tensor | float | None = None,
    alpha: float = 0.5,
    tau: float = 0.1,
) -> Tensor:
    """alpha * distill_loss + (1 - alpha) * reconstruction; `distill_loss` alone where there is no reconstruction.

    Args:
        student_vec: (B, Ds).
        teacher_vec: (B, Dt).
        reconstruction_loss: a number or 0-d. None: the distillation loss is NOT multiplied by alpha, as documented.
        alpha: share of the distillation, from 0 to 1. A part of share 0 is left out, so that its NaN does no harm.
        tau: see `distill_loss`.

    Returns:
        0-d.

    Raises:
        InputError: alpha outside [0, 1], a reconstruction that is no single number, or as `distill_loss`.

    Example:
        >>> s, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])  # a right angle: 1
        >>> round(combined_distill_loss(s, t, reconstruction_loss=0.5, alpha=0.8).item(), 4)
        0.9
    """
    _check_alpha(alpha)
    if reconstruction_loss is None:
        return distill_loss(student_vec, teacher_vec, tau=tau)
    if isinstance(reconstruction_loss, Tensor) and reconstruction_loss.ndim:
        raise InputError(
            f"reconstruction_loss: expected a number or a 0-d tensor, got shape {tuple(reconstruction_loss.shape)}; "
            "take its mean first"
        )
    rebuilt = torch.as_tensor(reconstruction_loss, device=student_vec.device)
    if alpha == 0:
        return rebuilt
    related = alpha * distill_loss(student_vec, teacher_vec, tau=tau)
    return related if alpha == 1 else related + (1 - alpha) * rebuilt


def curriculum_distill_step(
    student_vec: Tensor,
    teacher_vec: Tensor,
    stage: int,
    tau_schedule: Callable[[int], float],
    alpha: float = 0.5,
    reconstruction_loss: Tensor | float | None = None,
) -> tuple[Tensor, float]:
    """`combined_distill_loss` at the temperature of a stage.

    Of unequal widths rows are compared with each other. The last batch of an epoch may have 1 or 2, which have nobody to be
    compared with: there that part of the loss is 0, with a warning. Equal widths have no temperature: every stage is the same
    loss, which is warned of too.

    Args:
        student_vec: (B, Ds).
        teacher_vec: (B, Dt).
        stage: number of the stage, from 0.
        tau_schedule: stage -> temperature, see `create_curriculum_schedule`.
        alpha: share of the distillation; without a reconstruction it does nothing, as documented.
        reconstruction_loss: a number or 0-d.

    Returns:
        The loss (0-d), and the temperature that it was computed at.

    Raises:
        InputError: as `combined_distill_loss`; alpha is checked here too.

    Example:
        >>> student, teacher = torch.eye(3)[:, :2], torch.eye(3)
        >>> loss, tau = curriculum_distill_step(student, teacher, 2, lambda stage: 4.0 / 2**stage)
        >>> tau, loss.ndim
        (1.0, 0)
    """
    tau = float(tau_schedule(stage))
    alike = student_vec.shape[-1:] == teacher_vec.shape[-1:]
    if not alike and 0 < len(student_vec) == len(teacher_vec) < LEAST and student_vec.ndim == 2:
        _check_alpha(alpha)
        warnings.warn(
            f"a batch of {len(student_vec)}: rows of unequal widths are compared with each other, which needs "
            f"{LEAST}; the distillation loss of this batch is 0",
            UserWarning,
            stacklevel=2,
        )
        nothing = (0.0 * student_vec).sum()
        return nothing if reconstruction_loss is None else nothing + (1 - alpha) * reconstruction_loss, tau
    if stage and alike:
        warnings.warn(
            "vectors of equal widths are compared by their directions, which have no temperature: every stage of this "
            "curriculum is the same loss",
            UserWarning,
            stacklevel=2,
        )
    return combined_distill_loss(student_vec, teacher_vec, reconstruction_loss, alpha=alpha, tau=tau), tau


# ---------------------------------------------------------------------------------------------------------------- inside


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=EPS)


def _flat(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    for name, x in (("student", student), ("teacher", teacher)):
        if not isinstance(x, Tensor):
            raise InputError(
                f"{name} vectors: expected a torch tensor, got {type(x).__name__}; torch.as_tensor(x) makes one"
            )
    if student.ndim < 2 or teacher.ndim < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise InputError(
            f"vectors: expected student (B, Ds) and teacher (B, Dt) of one batch, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    if not student.numel() or not teacher.numel():
        raise InputError(f"vectors: expected at least one row, got {tuple(student.shape)} and {tuple(teacher.shape)}")
    if student.device != teacher.device:
        raise InputError(f"vectors: expected both on one device, got {student.device} and {teacher.device}")
    return wide(student).flatten(0, -2), wide(teacher).flatten(0, -2)


def _directed(teacher: Tensor) -> Tensor:
    """(n) rows of the teacher that have a direction."""
    lengths = torch.linalg.vector_norm(teacher, dim=1)
    if not bool(torch.isfinite(lengths).all()):
        bad = torch.nonzero(~torch.isfinite(lengths)).flatten().tolist()
        raise InputError(f"teacher_vec: expected finite numbers, got NaN or infinite ones in rows {_shown(bad)}")
    none = lengths <= EPS
    if bool(none.all()):
        bad = torch.nonzero(none).flatten().tolist()
        raise InputError(f"teacher_vec: expected rows with a direction, got zeros in rows {_shown(bad)}")
    return torch.nonzero(~none).flatten()


def _shown(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


def _check_alpha(alpha: float) -> None:
    if not (0.0 <= alpha <= 1.0) or math.isnan(alpha):
        raise InputError(f"alpha must be in [0, 1], got {alpha}")
