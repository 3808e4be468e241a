"""Gradient reversal: the forward pass sees a value as it is, the backward pass sees its opponent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """x itself; its gradient is multiplied by -strength, so that minimizing the loss moves x to raise it.

    One convention: strength is in [0, 1] and the minus is here. (The released CTKD multiplies by a number that its schedule
    runs from 0 to -1; both minus signs together would be plain minimization.)

    Args:
        x: any shape.
        strength: in [0, 1]; 0 gives a gradient of exactly 0, which freezes x.

    Returns:
        A tensor equal to x.

    Raises:
        InputError: strength outside [0, 1].

    Example:
        d(x^2)/dx at 3 is 6; the half of it, turned round, is -3.

        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> (reverse_gradient(x, 0.5) ** 2).backward()
        >>> x.grad.item()
        -3.0

    Source: Ganin, Lempitsky 2015, arXiv:1409.7495.
    """
    return _scaled(x, -_checked(strength))


def scale_gradient(x: Tensor, strength: float) -> Tensor:
    """x itself; its gradient is multiplied by +strength: the control of `reverse_gradient`, equal but for the sign.

    Args:
        x: any shape.
        strength: in [0, 1].

    Returns:
        A tensor equal to x.

    Raises:
        InputError: strength outside [0, 1].

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> (scale_gradient(x, 0.5) ** 2).backward()
        >>> x.grad.item()
        3.0
    """
    return _scaled(x, _checked(strength))


def _checked(strength: float) -> float:
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"strength: expected a number from 0 to 1 (the minus sign is built in), got {strength}")
    return strength


def _scaled(x: Tensor, factor: float) -> Tensor:
    result: Tensor = _Scale.apply(x, factor)
    return result


class _Scale(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.clone()  # torch.compile rebuilds a view behind a graph break from its base, without this backward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        _, ctx.factor = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # not grad * 0: an infinite gradient would become NaN where it was asked to vanish
        return (grads[0] * ctx.factor if ctx.factor else torch.zeros_like(grads[0])), None
