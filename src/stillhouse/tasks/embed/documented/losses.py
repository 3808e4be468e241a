"""The document's losses, their mix with a reconstruction, one curriculum step; teachers from files.

Shapes: B batch, Ds and Dt widths of student and teacher, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from stillhouse.core.checks import InputError
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.neighbours import cosine_neighbor_kl
from stillhouse.losses.relations import without_autocast
from stillhouse.losses.softened import wide
from stillhouse.tasks.embed.data import choose, read_entries

Reduction = Literal["mean", "sum"]
LEAST = 3  # rows that a relation needs
EPS = 1e-8  # least length that a row is divided by, so that a zero row has a bounded gradient
EMBEDDINGS, MODEL_STATE, METADATA = "embeddings", "model_state", "metadata"


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
        InputError: shapes that do not fit, too few rows for a relation, NaN in the teacher, unknown reduction.

    Example:
        Equal widths: the same direction 0, a right angle 1, the opposite 2.

        >>> s = torch.tensor([[3.0, 0.0]])
        >>> [distill_loss(s, torch.tensor([t])).item() for t in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])]
        [0.0, 1.0, 2.0]

    Relations:
        `stillhouse.losses.neighbours.neighbor_kl` has a bandwidth for every row, and is what `stillhouse embed distill` trains.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531 (temperature); Passalis, Tefas 2018, arXiv:1803.10837 (neighbors).
    """
    student, teacher = _flat(student_vec, teacher_vec, reduction, tau)
    lengths = torch.linalg.vector_norm(teacher, dim=1)
    if not bool(torch.isfinite(lengths).all()):
        bad = torch.nonzero(~torch.isfinite(lengths)).flatten().tolist()
        raise InputError(f"teacher_vec: expected finite numbers, got NaN or infinite ones in rows {bad[:5]}")
    student, teacher = student[lengths > EPS], teacher[lengths > EPS]
    if student.shape[1] == teacher.shape[1] and len(student):
        mean = (1 - (_unit(student) * _unit(teacher)).sum(dim=1)).mean()
    elif len(student) < LEAST:
        raise InputError(
            f"batch: of unequal widths rows are compared with each other, which needs at least {LEAST} with a direction, "
            f"got a batch of {len(student)}"
        )
    else:
        mean = cosine_neighbor_kl(student, teacher, tau=tau).mean()
    return mean * len(student) if reduction == "sum" else mean


def kl_distill_loss(
    student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """tau^2 KL(teacher || student) of softened class distributions, averaged over the batch.

    The document's `mean` divides by the number of classes as well (PyTorch's), and has no tau^2, so that its weight falls with
    both.

    Args:
        student_logits: (B, K); more leading axes are read as one batch.
        teacher_logits: (B, K); gets no gradient. A class of -inf is ruled out.
        tau: temperature, above 0.
        reduction: `mean` over the B rows, or `sum`.

    Returns:
        0-d, in nats.

    Raises:
        InputError: shapes differ, tau not positive, unknown reduction.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308; the document's number is half of it.

        >>> p, q = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> round(kl_distill_loss(q, p).item(), 4)
        0.1308

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    student, teacher = _flat(student_logits, teacher_logits, reduction, tau)
    rows = forward_kl(student, teacher, temperature=tau)
    return rows.sum() if reduction == "sum" else rows.mean()


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
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"alpha must be in [0, 1], got {alpha}")
    if reconstruction_loss is None:
        return distill_loss(student_vec, teacher_vec, tau=tau)
    rebuilt = torch.as_tensor(reconstruction_loss, device=student_vec.device)
    if rebuilt.ndim:
        raise InputError(
            f"reconstruction_loss: expected a number, got shape {tuple(rebuilt.shape)}; take its mean first"
        )
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
    compared with: there that part of the loss is 0. Equal widths have no temperature: every stage is the same loss.

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
        rest = 0.0 if reconstruction_loss is None else reconstruction_loss
        return 0.0 * student_vec.sum() + (1 - alpha) * rest, tau
    return combined_distill_loss(student_vec, teacher_vec, reconstruction_loss, alpha=alpha, tau=tau), tau


def load_teacher_checkpoint(
    checkpoint_path: str | Path, device: str = "cpu", map_location: Any = None
) -> dict[str, Any]:
    """Read a teacher from a file into memory: its vectors, its weights if they are there, and what is known of it.

    Args:
        checkpoint_path: `.pt` or `.pth`, `.safetensors`, `.npy`, `.npz`, `.parquet`. A bare tensor or array is its embeddings; a
            bare mapping of tensors is its model_state. A pickle that may run code is refused (the document's loader ran it).
        device: where tensors go; `auto` is CUDA where there is one.
        map_location: a device that wins over `device`.

    Returns:
        `embeddings` (N, Dt) floating point or None, `model_state` a dict or None, `metadata` a dict; further entries of a
        .pt file are kept.

    Raises:
        FileNotFoundError: no such file.
        RuntimeError: it cannot be read: damaged, of an unknown format, or a pickle of more than tensors.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"embeddings": torch.ones(4, 8)}, f"{folder}/teacher.pt")
        ...     found = load_teacher_checkpoint(f"{folder}/teacher.pt")
        >>> found["embeddings"].shape, found["model_state"], found["metadata"]
        (torch.Size([4, 8]), None, {})
    """
    path = Path(checkpoint_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Checkpoint not found: {checkpoint_path}")
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    where = map_location or (auto if device == "auto" else device)
    found: dict[str, Any] = {EMBEDDINGS: None, MODEL_STATE: None, METADATA: {}}
    try:
        entries = read_entries(path)
        if path.suffix not in (".pt", ".pth") or "" in entries:
            name = choose(path, None, entries)
            prefix = f"{MODEL_STATE}."
            state = {key.removeprefix(prefix): x for key, x in entries.items() if key.startswith(prefix)}
            vectors = entries[name]
            vectors = (
                vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.array(vectors))
            )  # a map is read-only
            found |= {EMBEDDINGS: vectors, MODEL_STATE: state or None}
        elif set(entries) & set(found):
            found |= entries
        else:
            found[MODEL_STATE] = entries
    except InputError as error:
        raise RuntimeError(f"Failed to load checkpoint: {error}") from None
    return tree_map_only(Tensor, lambda tensor: tensor.to(where), found)


# ---------------------------------------------------------------------------------------------------------------- inside


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=EPS)


def _flat(student: Tensor, teacher: Tensor, reduction: str, tau: float) -> tuple[Tensor, Tensor]:
    """Both as (B, D) in float32 at least, the teacher's without gradient."""
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction must be 'mean' or 'sum', got {reduction}")
    if not tau > 0:
        raise InputError(f"tau must be positive, got {tau!r}")
    if student.ndim < 2 or student.shape[:-1] != teacher.shape[:-1] or not student.numel():
        raise InputError(
            f"vectors: expected student (B, Ds) and teacher (B, Dt) of one batch, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    return wide(student).flatten(0, -2), wide(teacher.detach()).flatten(0, -2)
