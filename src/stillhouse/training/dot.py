"""An optimizer that gives distillation the longer memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stillhouse.core.checks import InputError


class DOT(Optimizer):
    """SGD with two momentum buffers, one for the task's gradient and one for the distillation's, of unequal memory.

        v_distill <- (m + delta) v_distill + g_distill
        v_task    <- (m - delta) v_task + g_task + weight_decay theta
        theta     <- theta - lr (v_task + v_distill)

    A gradient that stays the same is multiplied by 1/(1 - m - delta) for distillation and 1/(1 - m + delta) for the task in the
    long run: 40 and 5.7 at m = 0.9, delta = 0.075, about 7 to 1. The first control of a gain by it is therefore plain SGD with the
    distillation weight times 7. With delta 0 it is SGD on the sum.

    A parameter that only one of the two reaches (a projector) has momentum m, and weight decay counts once. First gradients
    start the buffers as they are. A buffer without a gradient in a step rests, as in torch's SGD. SGD only, as published.

    Each step: `optimizer.keep_distillation(...)`, then the task's gradients into `.grad`, then `optimizer.step()`.

    Args:
        params: as every optimizer.
        lr: learning rate.
        momentum: m in [0, 1).
        delta: in [0, 1 - m) and at most m; published: 0.075 on CIFAR-100, 0.09 on ImageNet.
        weight_decay: factor of theta in the task's gradient.

    Raises:
        InputError: a number outside its range.

    Example:
        Constant gradients of 1: the first step moves by 1 + 1, the second by (1 + 0.25) + (1 + 0.75) = 3.

        >>> x = torch.zeros(1, requires_grad=True)
        >>> optimizer = DOT([x], lr=1.0, momentum=0.5, delta=0.25)
        >>> for _ in range(2):
        ...     optimizer.keep_distillation([torch.ones(1)])
        ...     x.grad = torch.ones(1)
        ...     optimizer.step()
        >>> x.item()
        -5.0

    Source: Zhao, Cui, Song, Liang 2023, arXiv:2307.08436 (DOT: A Distillation-Oriented Trainer).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        delta: float = 0.075,
        weight_decay: float = 0.0,
    ) -> None:
        if not (math.isfinite(lr) and lr >= 0):
            raise InputError(f"lr: expected a finite number of at least 0, got {lr}")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum: expected a number in [0, 1), got {momentum}")
        if not 0 <= delta <= momentum or momentum + delta >= 1:
            raise InputError(f"delta: expected 0 to momentum ({momentum}), with their sum below 1, got {delta}")
        if not (math.isfinite(weight_decay) and weight_decay >= 0):
            raise InputError(f"weight_decay: expected a finite number of at least 0, got {weight_decay}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay})
        self._told: dict[Tensor, Tensor] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._told = {}

    def keep_distillation(self, gradients: Sequence[Tensor | None] | None = None) -> None:
        """Take the distillation's gradients for this step; a second call in a step adds to the first (micro-batches).

        Args:
            gradients: one a parameter, in the order of the groups; left out: what `.grad` holds, which is cleared then, so
                that `(weight * distillation).backward(retain_graph=True)` can go before.

        Raises:
            InputError: another number of gradients than of parameters.
        """
        parameters = self._parameters()
        if gradients is None:
            gradients = [p.grad for p in parameters]
            for parameter in parameters:
                parameter.grad = None
        if len(gradients) != len(parameters):
            raise InputError(f"gradients: expected one a parameter ({len(parameters)}), got {len(gradients)}")
        for parameter, gradient in zip(parameters, gradients):
            if gradient is not None:
                before = self._told.get(parameter)
                self._told[parameter] = gradient.detach().clone() if before is None else before + gradient

    def clip(self, max_norm: float) -> Tensor:
        """Scale both gradients of the step together so that the norm of their sum is at most `max_norm`; returns that norm ().

        `clip_grad_norm_` sees `.grad` alone, and would clip the task against nothing of the distillation.
        """
        sums = [x for x in map(self._whole, self._parameters()) if x is not None]
        if not sums:
            return torch.zeros(())
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x.float()) for x in sums]))
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for held in [*self._told.values(), *(p.grad for p in self._parameters() if p.grad is not None)]:
            held.mul_(factor.to(held.dtype))
        return norm

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear `.grad` and what was kept of the distillation."""
        super().zero_grad(set_to_none)
        self._told.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from `.grad` (task) and what was kept (distillation), which is used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, group)
        self._told.clear()
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        task, distill = parameter.grad, self._told.get(parameter)
        if task is None and distill is None:
            return
        momentum, delta = group["momentum"], group["delta"] if task is not None and distill is not None else 0.0
        if group["weight_decay"] != 0:
            decay = parameter * group["weight_decay"]
            if task is not None:
                task = task + decay
            elif distill is not None:
                distill = distill + decay
        state = self.state[parameter]
        steps = [
            _remember(state, "task_momentum", task, momentum - delta),
            _remember(state, "distill_momentum", distill, momentum + delta),
        ]
        for velocity in steps:
            if velocity is not None:
                parameter.add_(velocity, alpha=-group["lr"])

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _whole(self, parameter: Tensor) -> Tensor | None:
        task, distill = parameter.grad, self._told.get(parameter)
        if task is None or distill is None:
            return distill if task is None else task
        return task + distill


def _remember(state: dict[str, Any], name: str, gradient: Tensor | None, momentum: float) -> Tensor | None:
    """The buffer after this gradient, None where there is none."""
    if gradient is None:
        return None
    if name in state:
        state[name].mul_(momentum).add_(gradient)
    else:
        state[name] = gradient.detach().clone()
    buffer: Tensor = state[name]
    return buffer
