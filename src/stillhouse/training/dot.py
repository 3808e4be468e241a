"""An optimizer that gives distillation the longer memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

    Each step: `optimizer.backward(task, distillation)` for each micro-batch, then `optimizer.step()`. The task's gradients are in
    `.grad`, the distillation's in `.grad` of `twins`, tensors that share the parameters' memory.

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
        ...     optimizer.zero_grad()
        ...     optimizer.backward(task=x.sum(), distillation=x.sum())
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
        self._parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.twins = [parameter.detach() for parameter in self._parameters]

    def backward(self, task: Tensor, distillation: Tensor) -> None:
        """Add the gradients of two losses () to those of the step; of one without a graph there is none."""
        if distillation.requires_grad:
            learned = [pair for pair in zip(self.twins, self._parameters) if pair[1].requires_grad]
            found = torch.autograd.grad(distillation, [p for _, p in learned], retain_graph=True, allow_unused=True)
            for (twin, _), gradient in zip(learned, found):
                if gradient is not None:
                    twin.grad = gradient if twin.grad is None else twin.grad + gradient
        if task.requires_grad:
            task.backward()

    def clip(self, max_norm: float) -> Tensor:
        """Scale both gradients of the step together so that the norm of their sum is at most `max_norm`; returns that norm ().

        `clip_grad_norm_` sees `.grad` alone, and would clip the task against nothing of the distillation.
        """
        both = zip(self._parameters, self.twins)
        pairs = [[x.grad for x in pair if x.grad is not None] for pair in both]
        norm = torch.nn.utils.get_total_norm([sum(pair[1:], pair[0]).float() for pair in pairs if pair])
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (x for pair in pairs for x in pair):
            gradient.mul_(factor.to(gradient.dtype))
        return norm

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both."""
        super().zero_grad(set_to_none)
        for twin in self.twins:
            twin.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from both gradients."""
        twins = iter(self.twins)
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, next(twins).grad, group)

    def _move(self, parameter: Tensor, distill: Tensor | None, group: dict[str, Any]) -> None:
        task = parameter.grad
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
