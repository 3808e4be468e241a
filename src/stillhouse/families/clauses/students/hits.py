"""Hits and literal counts of a clause bank with their gradients, in few passes over the masks.

Shapes: ... leading axes, F bits, C clauses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillhouse.families.clauses.students.exact_product import (
    count_in_integers,
    counts_exactly,
    integers_are_faster,
)


class _Hits(torch.autograd.Function):
    """The product and both counts forward; backward one product a factor, and one pass of the surrogate's slope."""

    @staticmethod
    def forward(ctx: Any, bits: Tensor, logits: Tensor, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        positive, negated = logits > torch.logit(tau)
        small = positive.view(torch.int8) - negated.view(torch.int8)
        kernel = small.to(logits.dtype)
        ctx.save_for_backward(bits, logits, kernel)
        counts = [mask.view(torch.int8).sum(1, dtype=torch.int32).to(logits.dtype) for mask in (positive, negated)]
        # bits and masks are small integers: the same sums either way
        integers = counts_exactly(bits) and integers_are_faster(bits, len(kernel))
        hits = count_in_integers(bits, small.T) if integers else torch.nn.functional.linear(bits, kernel)
        return hits, counts[0], counts[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        bits, logits, kernel = ctx.saved_tensors
        to_hits, to_positive, to_negated = gradients
        to_bits = to_hits @ kernel if ctx.needs_input_grad[0] else None
        # the surrogate is p - tau for each of the 2 F masks of a clause; the product's share cancels between x and not x
        to_tau = -bits.shape[-1] * (to_positive.sum() + to_negated.sum()) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[1]:
            return to_bits, None, to_tau
        to_mask = to_hits.reshape(-1, to_hits.shape[-1]).T @ bits.reshape(-1, bits.shape[-1])  # (C, F)
        p = torch.sigmoid(logits)
        slope = p.addcmul_(p, p, value=-1)
        slope[0].mul_(to_mask.add_(to_positive.unsqueeze(1)))
        slope[1].mul_(to_mask.neg_().add_((to_positive + to_negated).unsqueeze(1)))
        return to_bits, slope, to_tau


def hits_and_counts(bits: Tensor, logits: Tensor, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `ClauseBank` needs of its masks `1[sigmoid(logits) > tau]`, with straight-through gradients.

    The same numbers and gradients as `hard_include` and a linear map, in fewer passes over tensors of the size of the
    masks, which for wide banks and small batches take longer than the product itself.

    Args:
        bits: (..., F) of 0 and 1.
        logits: (2, C, F) include logits of the literals x and not x.
        tau: 0-d threshold in (0, 1).

    Returns:
        (..., C) bits that meet a positive literal minus those that meet a negated one; (C) positive and (C) negated literals.

    Example:
        Clause 0 asks for bit 0 and not bit 1:

        >>> logits = torch.tensor([[[4.0, -4.0]], [[-4.0, 4.0]]])
        >>> hits, positive, negated = hits_and_counts(torch.tensor([[1.0, 1.0]]), logits, torch.tensor(0.5))
        >>> hits.tolist(), positive.tolist(), negated.tolist()
        ([[0.0]], [1.0], [1.0])

    Source: Bengio, Leonard, Courville 2013, arXiv:1308.3432 (straight-through estimator).
    """
    found: tuple[Tensor, Tensor, Tensor] = _Hits.apply(bits, logits, tau)
    return found
