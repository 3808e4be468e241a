"""The optimizer and its schedule, from torch; parameter groups from the model where it has an opinion."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from stillhouse.training.config import TrainingConfig
from stillhouse.training.dot import DOT


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The model's own `parameter_groups(weight_decay)`, else: matrices decay, vectors do not."""
    own = getattr(model, "parameter_groups", None)
    if callable(own):
        groups: list[dict[str, Any]] = own(weight_decay)
        return groups
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def extra_groups(extras: nn.Module) -> list[dict[str, Any]]:
    """What is learnt along, without weight decay; a part with `parameter_groups()` of its own decides for itself."""
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    for part in extras.modules():
        own = getattr(part, "parameter_groups", None)
        if callable(own):
            for group in own():
                fresh = [p for p in group["params"] if id(p) not in taken]
                taken.update(map(id, fresh))
                if fresh:
                    groups.append({"weight_decay": 0.0, **group, "params": fresh})
    rest = [p for p in extras.parameters() if id(p) not in taken]
    return groups + ([{"params": rest, "weight_decay": 0.0}] if rest else [])


def build_optimizer(
    model: nn.Module, extras: nn.Module, config: TrainingConfig, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimizer over the model and what is learnt along (projectors, temperatures), with warm-up and cosine per step."""
    groups = parameter_groups(model, config.weight_decay) + extra_groups(extras)
    optimizer = _optimizer(groups, config)
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total - 1)
    rest = max(1, total - warmup)
    after: LRScheduler = (
        CosineAnnealingLR(optimizer, T_max=rest, eta_min=config.final_learning_rate)
        if config.schedule == "cosine"
        else ConstantLR(optimizer, factor=1.0, total_iters=0)
    )
    if warmup == 0:
        return optimizer, after
    start = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    return optimizer, SequentialLR(optimizer, [start, after], milestones=[warmup])


def _optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    momentum = 0.9 if config.momentum is None else config.momentum
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum)
    return DOT(groups, config.learning_rate, momentum=momentum, delta=0.075 if config.delta is None else config.delta)
