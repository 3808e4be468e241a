"""Straight-through estimators: a hard value forward, a smooth gradient backward.

Written as `hard + (soft - soft.detach())`, so that the *value* is hard. The reverse, `soft + (hard - soft).detach()` with
the roles mixed up, is the classic slip: it trains nothing (see `tests/layers/test_straight_through.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def _logistic_density(p: Tensor) -> Tensor:
    """p (1 - p) in the place of p: on large masks fresh memory takes longer than the arithmetic."""
    return p.addcmul_(p, p, value=-1)


class _Step(torch.autograd.Function):
    """1[x > 0] forward; the logistic density backward, without keeping the sigmoid in memory."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope  # type: ignore[attr-defined]
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        slope = ctx.slope  # type: ignore[attr-defined]
        return _logistic_density(torch.sigmoid(slope * x)).mul_(grad[0]).mul_(slope), None


def hard_step(x: Tensor, slope: float = 1.0) -> Tensor:
    """Bits of a real-valued tensor: 1 where x > 0, else 0, with the gradient of `sigmoid(slope * x)`.

    Args:
        x: (...) any shape.
        slope: steepness of the surrogate; the gradient at 0 is slope / 4.

    Returns:
        (...) of the dtype of `x`, only 0 and 1.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
        >>> hard_step(x).tolist()
        [0.0, 0.0, 1.0]
        >>> hard_step(x).sum().backward(); [round(g, 4) for g in x.grad.tolist()]
        [0.1966, 0.25, 0.105]

    Source: Bengio, Leonard, Courville 2013, arXiv:1308.3432.
    """
    bits: Tensor = _Step.apply(x, slope)
    return bits


class _Include(torch.autograd.Function):
    """1[logit > threshold] forward; backward the sigmoid's slope to the logits, -1 to tau (the surrogate is p - tau)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, logits: Tensor, tau: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return (logits > torch.logit(tau)).to(logits.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad: Tensor) -> tuple[Tensor, Tensor | None]:
        (logits,) = ctx.saved_tensors  # type: ignore[attr-defined]
        to_tau = -grad[0].sum() if ctx.needs_input_grad[1] else None  # type: ignore[attr-defined]
        return _logistic_density(torch.sigmoid(logits)).mul_(grad[0]), to_tau


def hard_include(logits: Tensor, tau: float | Tensor = 0.5) -> Tensor:
    """The include mask of literals: 1 where `sigmoid(logits) > tau`, with the gradient of `sigmoid(logits) - tau`.

    Args:
        logits: (...) include logits.
        tau: threshold on the include probability, in (0, 1); a 0-d tensor gets a gradient too.

    Returns:
        (...) of 0 and 1.

    Example:
        >>> logits = torch.tensor([-1.0, 0.1, 3.0], requires_grad=True)
        >>> mask = hard_include(logits); mask.tolist()
        [0.0, 1.0, 1.0]
        >>> mask.sum().backward(); bool((logits.grad > 0).all())
        True
        >>> tau = torch.tensor(0.5, requires_grad=True)
        >>> hard_include(logits.detach(), tau).sum().backward(); tau.grad.item()
        -3.0
    """
    threshold = tau if isinstance(tau, Tensor) else torch.tensor(tau, dtype=logits.dtype, device=logits.device)
    mask: Tensor = _Include.apply(logits, threshold)
    return mask


class _LeakyBackwardReLU(torch.autograd.Function):
    """relu(x) forward; backward 1 where x > 0 and `leak` elsewhere."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, leak: float) -> Tensor:
        ctx.save_for_backward(x > 0)
        ctx.leak = leak  # type: ignore[attr-defined]
        return torch.relu(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad: Tensor) -> tuple[Tensor, None]:
        (alive,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.where(alive, grad[0], grad[0] * ctx.leak), None  # type: ignore[attr-defined]


def revivable_relu(x: Tensor, leak: float = 0.1) -> Tensor:
    """relu whose backward pass leaks where the unit is silent, so that a dead clause can come back.

    Args:
        x: (...) any shape.
        leak: slope of the backward pass below 0.

    Returns:
        (...) max(x, 0), exactly.

    Example:
        >>> x = torch.tensor([-2.0, 3.0], requires_grad=True)
        >>> y = revivable_relu(x); y.sum().backward(); y.tolist(), [round(g, 2) for g in x.grad.tolist()]
        ([0.0, 3.0], [0.1, 1.0])
    """
    result: Tensor = _LeakyBackwardReLU.apply(x, leak)
    return result


SMALLEST_SCALE = 1e-8


def ternary_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The codes and the scale of a ternary weight: scale = mean |w|, code = round(w / scale) within -1 and 1.

    Args:
        weight: (out, in).

    Returns:
        (out, in) of -1, 0 and 1, and the scale of the matrix, 0-d.

    Example:
        Mean |w| is 0.5: 0.2 is below half of it and falls silent, 0.3 does not.

        >>> codes, scale = ternary_codes(torch.tensor([[1.2, -0.3, 0.2, 0.3]]))
        >>> codes.tolist(), scale.item()
        ([[1.0, -1.0, 0.0, 1.0]], 0.5)

    Source: Ma et al. 2024, arXiv:2402.17764 (BitNet b1.58), equations 1 to 3.
    """
    scale = weight.abs().mean().clamp(min=SMALLEST_SCALE)
    return (weight / scale).clamp(-1, 1).round(), scale


def ternary_weight(weight: Tensor, share: float | Tensor = 1.0) -> Tensor:
    """A weight on its way from dense (share 0) to ternary (share 1); its gradient is that of the dense weight.

    Args:
        weight: (out, in).
        share: how much of the ternary weight, in [0, 1].

    Returns:
        (out, in) `weight + share * (codes * scale - weight)`; exactly `codes * scale` at share 1.

    Example:
        >>> w = torch.tensor([[1.2, -0.3, 0.2, 0.3]], requires_grad=True)
        >>> ternary_weight(w).tolist(), [round(v, 2) for v in ternary_weight(w, 0.5)[0].tolist()]
        ([[0.5, -0.5, 0.0, 0.5]], [0.85, -0.4, 0.1, 0.4])

    Source: straight-through: Bengio et al. 2013, arXiv:1308.3432; ternary: Ma et al. 2024, arXiv:2402.17764.
    """
    if isinstance(share, float) and share == 0:
        return weight
    with torch.no_grad():
        codes, scale = ternary_codes(weight)
        value = torch.lerp(weight, codes * scale, share)
    return value + (weight - weight.detach())
