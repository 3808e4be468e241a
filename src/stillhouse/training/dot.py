"""An optimizer that gives distillation the longer memory."""

from __future__ import annotations

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
        InputError: a delta outside its range.

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
        if not 0 <= delta <= momentum or momentum + delta >= 1:
            raise InputError(f"delta: expected 0 to momentum ({momentum}), with their sum below 1, got {delta}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay})
        self._distillation: dict[Tensor, Tensor] = {}

    def keep_distillation(self, gradients: Sequence[Tensor | None]) -> None:
        """Take the distillation's gradients for this step: one a parameter, in the order of the groups."""
        self._distillation = {
            p: gradient for p, gradient in zip(self._parameters(), gradients, strict=True) if gradient is not None
        }

    def clip(self, max_norm: float) -> Tensor:
        """Scale both gradients of the step together so that the norm of their sum is at most `max_norm`; returns that norm ().

        `clip_grad_norm_` sees `.grad` alone, and would clip the task against nothing of the distillation.
        """
        pairs = [[x for x in (p.grad, self._distillation.get(p)) if x is not None] for p in self._parameters()]
        norm = torch.nn.utils.get_total_norm([sum(pair[1:], pair[0]).float() for pair in pairs if pair])
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (x for pair in pairs for x in pair):
            gradient.mul_(factor.to(gradient.dtype))
        return norm

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear `.grad` and what was kept of the distillation."""
        super().zero_grad(set_to_none)
        self._distillation.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from `.grad` (task) and what was kept (distillation), which is used up."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, group)
        self._distillation.clear()

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        task, distill = parameter.grad, self._distillation.get(parameter)
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
        for name, gradient, memory in (
            ("task_momentum", task, momentum - delta),
            ("distill_momentum", distill, momentum + delta),
        ):
            if gradient is None:
                continue
            if name in state:
                state[name].mul_(memory).add_(gradient)
            else:
                state[name] = gradient.detach().clone()
            parameter.add_(state[name], alpha=-group["lr"])

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]
