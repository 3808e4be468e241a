"""The optimizer (torch's, and Muon) and its schedule; parameter groups from the model where it has an opinion."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from stillhouse.core.checks import InputError
from stillhouse.layers.part import TrainedPart, parameter_groups
from stillhouse.layers.spikes.linear import SpikeLinear
from stillhouse.training.config import TrainingConfig
from stillhouse.training.dot import DOT

STRIDE, MOMENTUM, STEP_SIZE = 2.0, 0.95, 0.2  # Muon's: rate over AdamW's, momentum, root mean square of a step in rates
SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic a x + b x^3 + c x^5 that five times over brings singular values near 1
BLOCK = re.compile(r"^((?:.*?\.)?(?:stages\.\d+\.(?:blocks|layers)|blocks|layers|stages|layer\d+)\.\d+)\.")


def build_optimizer(
    model: nn.Module, extras: nn.Module, config: TrainingConfig, steps_per_epoch: int
) -> tuple[Optimizer, LRScheduler]:
    """The optimizer over the model and what is learnt along (projectors, temperatures), with warm-up and cosine per step."""
    own = []
    for group in parameter_groups(model, config.weight_decay):
        factor = group.pop("rate_factor", None)
        own.append(group if factor is None else {**group, "lr": factor * config.learning_rate})
    if config.layer_decay < 1:
        own = by_layer(own, model, learning_rate=config.learning_rate, decay=config.layer_decay)
    if config.optimizer == "muon":
        own = with_matrices_apart(own, model, learning_rate=config.learning_rate)
    if config.centralize_gradients:
        centralize_gradients(model)
    optimizer = _optimizer(own + extra_groups(extras), config)
    return optimizer, LambdaLR(optimizer, _shape_of_rate(config, steps_per_epoch))


def _optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    if config.optimizer == "muon":
        return MuonAdamW(groups, lr=config.learning_rate, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return DOT(groups, config.learning_rate, momentum=config.momentum, delta=config.delta)


def _shape_of_rate(config: TrainingConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """Of a step: the factor of every group's own rate. (torch's cosines end at one rate for all groups.)"""
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total - 1)
    cycle = config.cycle_steps or max(1, total - warmup)
    lowest = config.final_learning_rate / config.learning_rate

    def factor(step: int) -> float:
        if step < warmup:
            return 0.01 + 0.99 * step / warmup
        if config.schedule == "constant":
            return 1.0
        place = step - warmup
        place = place % cycle if config.cycle_steps else min(place, cycle)
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * place / cycle)) / 2

    return factor


# ---------------------------------------------------------------------------------------------- groups


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


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """The layer of every parameter by name: 0 before the first block, one a block, the last for what follows.

    Blocks are the entries of lists called blocks, layers, stages or layerN, as nearly all image models name them; what lies
    between two blocks (a merging of patches) belongs to the one before.

    Raises:
        InputError: no such list.

    Example:
        >>> net = nn.Sequential()
        >>> net.stem, net.blocks, net.head = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), nn.Linear(1, 1)
        >>> {name: layer for name, layer in layer_numbers(net).items() if name.endswith("weight")}
        {'stem.weight': 0, 'blocks.0.weight': 1, 'blocks.1.weight': 2, 'head.weight': 3}
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = [BLOCK.match(name) for name in names]
    found = list(dict.fromkeys(match.group(1) for match in blocks if match is not None))
    if not found:
        raise InputError(
            f"layer_decay: {type(model).__name__} has no blocks (lists called blocks, layers, stages or layerN); take 1"
        )
    last = max(number for number, match in enumerate(blocks) if match is not None)
    numbers: dict[str, int] = {}
    current = 0
    for number, (name, match) in enumerate(zip(names, blocks)):
        current = current if match is None else 1 + found.index(match.group(1))
        numbers[name] = len(found) + 1 if number > last else current
    return numbers


def centralize_gradients(model: nn.Module) -> None:
    """Subtract from every gradient its mean over all axes but the first, as soon as it is there.

    Include logits are left alone: without the mean, no clause could take up or drop literals as a whole.

    Source: Yong et al. 2020, arXiv:2004.01461.
    """

    def centralize(parameter: torch.Tensor) -> None:
        # a projection, so that doing it to a sum of micro-batches, part by part, is the same as doing it once
        assert parameter.grad is not None
        parameter.grad.sub_(parameter.grad.mean(dim=tuple(range(1, parameter.ndim)), keepdim=True))

    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim > 1 and "include" not in name:
            parameter.register_post_accumulate_grad_hook(centralize)


# ---------------------------------------------------------------------------------------------- Muon


def orthogonalized(matrix: Tensor) -> Tensor:
    """U V^T of a matrix U S V^T, singular values between 0.68 and 1.14, by five Newton-Schulz steps.

    In bf16 on a GPU and in float32 on a CPU, where `torch.optim.Muon` takes bf16 too: ten times as slow on those without it.

    Args:
        matrix: (M, N), not all 0.

    Example:
        >>> large, small = torch.linalg.svdvals(orthogonalized(torch.tensor([[100.0, 0.0], [0.0, 10.0]]))).tolist()
        >>> f"{large:.1f} {small:.1f}"
        '0.7 0.7'

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = SCHULZ
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


class MuonAdamW(torch.optim.AdamW):
    """Muon for groups of matrices, AdamW for the others, with one state and one schedule.

    The weights of linear maps inside blocks move along the orthogonalized momentum, so that every direction of a matrix
    moves at the same pace; embeddings, norms, biases, clauses and the head move by AdamW.

    Args:
        groups: as every optimizer; those made by `with_matrices_apart` are Muon's.
        **options: of `torch.optim.AdamW`.

    Example:
        A gradient of which one direction is a hundred times another moves both alike:

        >>> net = nn.Sequential()
        >>> net.blocks = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> weight = net.blocks[0].weight
        >>> before = weight.detach().clone()
        >>> optimizer = MuonAdamW(with_matrices_apart([{"params": [weight]}], net, learning_rate=0.01))
        >>> weight.grad = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
        >>> optimizer.step()
        >>> large, small = torch.linalg.svdvals((weight - before).detach()).tolist()
        >>> bool(large / small < 3)
        True

    Source: Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982 (the size of a step).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both."""
        every = self.param_groups
        self.param_groups = [group for group in every if not group.get("matrices")]
        super().step()
        self.param_groups = every
        moved = [(group, w) for group in every if group.get("matrices") for w in group["params"] if w.grad is not None]
        for group, weight in moved:
            state = self.state[weight]
            if not state:  # AdamW loads no state without a step
                state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))
            momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
            update = orthogonalized(weight.grad.lerp(momentum, MOMENTUM))
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(update, alpha=-group["lr"] * STEP_SIZE * math.sqrt(max(weight.shape)))


def with_matrices_apart(
    groups: list[dict[str, Any]], model: nn.Module, *, learning_rate: float
) -> list[dict[str, Any]]:
    """Each group split in two: weights of linear maps inside blocks, at `STRIDE` times the rate, and the rest.

    Raises:
        InputError: a model without such matrices.
    """
    inside = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, SpikeLinear)) and BLOCK.match(f"{name}.weight")
    }
    split: list[dict[str, Any]] = []
    for group in groups:
        rest = [p for p in group["params"] if id(p) not in inside]
        matrices = [p for p in group["params"] if id(p) in inside]
        if rest:
            split.append({**group, "params": rest})
        if matrices:
            rate = STRIDE * group.get("lr", learning_rate)
            split.append({**group, "params": matrices, "lr": rate, "matrices": True})
    if not any(group.get("matrices") for group in split):
        raise InputError(
            f"optimizer: muon moves the matrices of linear maps inside blocks, and {type(model).__name__} has none; "
            "take adamw"
        )
    return split
