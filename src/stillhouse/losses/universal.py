"""Probabilities compared by size, whatever they are of: for vocabularies that have nothing in common."""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.losses.precision import wide


def universal_logit_distance(student_logits: Tensor, teacher_sizes: Tensor) -> Tensor:
    """Sum of |q_i - p_i|, both sorted from the largest on: the Wasserstein-1 distance where any two tokens are equally far.

    Args:
        student_logits: (B, K).
        teacher_sizes: (B, K') probabilities, largest first; gets no gradient. Fewer or more than K: zeros are put to the shorter.

    Returns:
        (B,) in [0, 2]; 0 where the sizes agree, whichever tokens have them. A row of zeros stands for no answer and is 0.

    Raises:
        InputError: not two matrices of as many rows.

    Example:
        Student (1/4, 3/4), teacher (1/2, 1/2): 1/4 twice.

        >>> found = universal_logit_distance(torch.tensor([[1.0, 3.0]]).log(), torch.tensor([[0.5, 0.5]]))
        >>> [round(x, 4) for x in found.tolist()]
        [0.5]

    Source: Boizard et al. 2024, arXiv:2402.12030 (ULD), equation 6.
    """
    if student_logits.ndim != 2 or teacher_sizes.ndim != 2 or len(student_logits) != len(teacher_sizes):
        raise InputError(
            f"sizes: expected (B, K) and (B, K'), got {tuple(student_logits.shape)} and {tuple(teacher_sizes.shape)}"
        )
    q = wide(student_logits).softmax(1).sort(1, descending=True).values
    p = wide(teacher_sizes.detach())
    missing = q.shape[1] - p.shape[1]
    q, p = torch.nn.functional.pad(q, (0, max(0, -missing))), torch.nn.functional.pad(p, (0, max(0, missing)))
    answered = (p[:, :1] > 0).to(q.dtype)
    return ((q - p).abs() * answered).sum(1)
