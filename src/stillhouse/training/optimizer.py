"""The optimizer and its schedule, from torch; parameter groups from the model where it has an opinion."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from stillhouse.layers.part import TrainedPart, parameter_groups
from stillhouse.training.config import TrainingConfig
from stillhouse.training.dot import DOT
from stillhouse.training.muon import MuonAdamW, layer_numbers, with_matrices_apart


def extra_groups(extras: nn.Module) -> list[dict[str, Any]]:
    """What is learnt along, without weight decay; the `groups()` of a `TrainedPart` come first."""
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    for part in extras.modules():
        for group in part.groups() if isinstance(part, TrainedPart) else []:
            fresh = [p for p in group["params"] if id(p) not in taken]
            taken.update(map(id, fresh))
            if fresh:
                groups.append({"weight_decay": 0.0, **group, "params": fresh})
    rest = [p for p in extras.parameters() if id(p) not in taken]
    return groups + ([{"params": rest, "weight_decay": 0.0}] if rest else [])


def by_layer(
    groups: list[dict[str, Any]], model: nn.Module, *, learning_rate: float, decay: float
) -> list[dict[str, Any]]:
    """Each group split by layer, with a learning rate that shrinks by `decay` for every layer below the head.

    Source: Clark et al. 2020, arXiv:2003.10555 (layer-wise learning rate decay).
    """
    numbers = layer_numbers(model)
    layer = {id(p): numbers[name] for name, p in model.named_parameters()}
    top = max(numbers.values())
    split: list[dict[str, Any]] = []
    for group in groups:
        for number in range(top + 1):
            chosen = [p for p in group["params"] if layer[id(p)] == number]
            if chosen:
                rate = group.get("lr", learning_rate) * decay ** (top - number)
                split.append({**group, "params": chosen, "lr": rate})
    return split


def centralize_gradients(model: nn.Module) -> None:
    """Subtract from every gradient its mean over all axes but the first, as soon as it is there.

    Include logits are left alone: without the mean, no clause could take up or drop literals as a whole.

    Source: Yong et al. 2020, arXiv:2004.01461.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim > 1 and "include" not in name:
            parameter.register_post_accumulate_grad_hook(_centralize)


def _centralize(parameter: torch.Tensor) -> None:
    # a projection, so that doing it to a sum of micro-batches, part by part, is the same as doing it once
    assert parameter.grad is not None
    parameter.grad.sub_(parameter.grad.mean(dim=tuple(range(1, parameter.ndim)), keepdim=True))


def _at_its_rate(group: dict[str, Any], learning_rate: float) -> dict[str, Any]:
    """A group with the learning rate that its `rate_factor` makes of the common one; others as they are."""
    if "rate_factor" not in group:
        return group
    return {**{k: v for k, v in group.items() if k != "rate_factor"}, "lr": group["rate_factor"] * learning_rate}


def build_optimizer(
    model: nn.Module, extras: nn.Module, config: TrainingConfig, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimizer over the model and what is learnt along (projectors, temperatures), with warm-up and cosine per step."""
    own = [_at_its_rate(group, config.learning_rate) for group in parameter_groups(model, config.weight_decay)]
    if config.layer_decay < 1:
        own = by_layer(own, model, learning_rate=config.learning_rate, decay=config.layer_decay)
    if config.optimizer == "muon":
        own = with_matrices_apart(own, model, learning_rate=config.learning_rate)
    if config.centralize_gradients:
        centralize_gradients(model)
    optimizer = _optimizer(own + extra_groups(extras), config)
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total - 1)
    after = _after_warmup(optimizer, config, max(1, total - warmup))
    if warmup == 0:
        return optimizer, after
    start = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    return optimizer, SequentialLR(optimizer, [start, after], milestones=[warmup])


def _after_warmup(optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> LRScheduler:
    if config.schedule == "constant":
        return ConstantLR(optimizer, factor=1.0, total_iters=0)
    cycle = config.cycle_steps or steps
    if len({group["lr"] for group in optimizer.param_groups}) > 1:
        # torch's cosines end at one rate for all groups, which would take the groups' ratios away on the way down
        lowest = config.final_learning_rate / config.learning_rate
        return LambdaLR(
            optimizer, lambda step: lowest + (1 - lowest) * (1 + math.cos(math.pi * _place(step, cycle, config))) / 2
        )
    if config.cycle_steps:
        return CosineAnnealingWarmRestarts(optimizer, T_0=cycle, eta_min=config.final_learning_rate)
    return CosineAnnealingLR(optimizer, T_max=cycle, eta_min=config.final_learning_rate)


def _place(step: int, cycle: int, config: TrainingConfig) -> float:
    return (step % cycle if config.cycle_steps else min(step, cycle)) / cycle


def _optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    fused = (
        config.precision != "16-mixed"
    )  # one pass over the weights; under a loss scale such a step cannot be clipped
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)
    if config.optimizer == "muon":
        return MuonAdamW(groups, lr=config.learning_rate, fused=fused)
    momentum = 0.9 if config.momentum is None else config.momentum
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum)
    return DOT(groups, config.learning_rate, momentum=momentum, delta=0.075 if config.delta is None else config.delta)
