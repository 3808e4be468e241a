"""Cross-entropy with the text and divergence from a teacher on the same tokens, in pieces where the logits would be large.

Shapes: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from stillhouse.losses import forward_kl, generalized_js, reverse_kl, universal_logit_distance
from stillhouse.losses.chunked import CHUNK_ELEMENTS, Divergence, Projection, fused_linear_divergence
from stillhouse.losses.tail import Scores
from stillhouse.losses.top_k import scores_kl

WHOLE_ELEMENTS = 2**24  # logits of a batch, 64 MiB in float32: up to here pieces cost more than they save

DIVERGENCES = {"forward-kl": forward_kl, "reverse-kl": reverse_kl, "js": generalized_js}


@dataclass(frozen=True)
class FullLogits:
    """A teacher at hand: logits (c, V) of token numbers (c,), made when they are asked for."""

    logits: Callable[[Tensor], Tensor]
    divergence: Divergence = "forward-kl"


@dataclass(frozen=True)
class SortedProbs:
    """Probabilities of a teacher of other tokens by size alone: (N, K), largest first; rows of 0 have no answer."""

    sizes: Tensor


TeacherOut = Scores | FullLogits | SortedProbs


def language_losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    teacher_out: TeacherOut | None = None,
    *,
    temperature: float | Tensor = 1.0,
    chunk: int | None = None,
    offset: Tensor | None = None,
) -> dict[str, Tensor]:
    """Means over tokens of the cross-entropy (`labels`), and of T^2 times the divergence from the teacher (`kd`).

    Args:
        hidden: (N, D) of the student; its logits are `hidden @ weight.T`.
        weight: (V, D).
        targets: (N,) int64, the tokens that came.
        teacher_out: of the same tokens; None: `labels` only.
        temperature: a number, or a tensor () that is learned.
        offset: (N, V) added to the logits, as an n-gram's log-probabilities.
        chunk: tokens at a time; None: all at once up to 2^24 logits, pieces of 2^23 beyond. No piece's logits outlive it.

    Returns:
        0-d tensors in nats, the same whatever the pieces.

    Example:
        Two tokens, scores all equal: ln 2 nats of cross-entropy, and no divergence from a teacher of the same scores.

        >>> hidden, weight = torch.zeros(3, 4), torch.ones(2, 4)
        >>> found = language_losses(hidden, weight, torch.tensor([0, 1, 1]), FullLogits(lambda rows: torch.zeros(len(rows), 2)))
        >>> round(found["labels"].item(), 4), found["kd"].item()
        (0.6931, 0.0)
    """
    N, V = len(hidden), len(weight)
    size = chunk or (N if N * V <= WHOLE_ELEMENTS else max(1, CHUNK_ELEMENTS // V))
    fused = isinstance(teacher_out, FullLogits) and not isinstance(temperature, Tensor) and offset is None
    if size >= N and isinstance(teacher_out, FullLogits) and teacher_out.divergence == "forward-kl":
        fused = False  # the logits are there anyway, and one pass makes both
    beside = None if fused else teacher_out
    sums: dict[str, Tensor] = {}
    for rows in torch.arange(N, device=hidden.device).split(size):
        if size >= N:
            found = _piece(hidden, weight, targets, rows, beside, temperature, offset)
        else:
            added = None if offset is None else offset[rows]
            found = checkpoint(
                _piece, hidden[rows], weight, targets[rows], rows, beside, temperature, added, use_reentrant=False
            )
        for name, value in found.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value
    means = {name: value / N for name, value in sums.items()}
    if isinstance(teacher_out, FullLogits) and fused:  # keeps no logits: half the time and memory of the pieces above
        student = Projection(hidden, weight)
        means["kd"] = fused_linear_divergence(
            student, teacher_out.logits, divergence=teacher_out.divergence, temperature=float(temperature), chunk=chunk
        )
    return means


def _piece(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    rows: Tensor,
    teacher_out: TeacherOut | None,
    temperature: float | Tensor,
    offset: Tensor | None,
) -> dict[str, Tensor]:
    """Sums over some tokens."""
    logits = F.linear(hidden, weight)
    if offset is not None:
        logits = logits + offset
    sums = {"labels": F.cross_entropy(logits.float(), targets, reduction="sum")}
    if isinstance(teacher_out, Scores):
        sums["kd"] = scores_kl(logits, teacher_out.at(rows), temperature).sum()
    elif isinstance(teacher_out, SortedProbs):
        sums["kd"] = universal_logit_distance(logits, teacher_out.sizes[rows]).sum()
    elif teacher_out is not None:
        sums["kd"] = DIVERGENCES[teacher_out.divergence](
            logits, teacher_out.logits(rows), temperature=temperature
        ).sum()
    return sums
