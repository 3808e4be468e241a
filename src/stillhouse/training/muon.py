"""Muon for the matrices inside blocks, AdamW for everything else, as one optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from stillhouse.core.checks import InputError
from stillhouse.layers.spikes import SpikeLinear

STRIDE = 2.0  # Muon's rate over AdamW's; torch's "match_rms_adamw" makes steps of root mean square 0.2 lr of it


class MuonAdamW(Optimizer):
    """Two optimizers of torch over disjoint parameters, with one state and one schedule.

    The weights of linear maps inside blocks move along the orthogonalized momentum, so that every direction of a matrix
    moves at the same pace; embeddings, norms, biases, clauses and the head move by AdamW.

    Args:
        groups: as every optimizer; those made by `with_matrices_apart` are Muon's.
        lr: learning rate of groups without their own.
        fused: of AdamW: one pass over the weights.

    Example:
        A gradient of which one direction is a hundred times another moves both alike:

        >>> net = nn.Sequential()
        >>> net.blocks = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> weight = net.blocks[0].weight
        >>> before = weight.detach().clone()
        >>> optimizer = MuonAdamW(with_matrices_apart([{"params": [weight]}], net, learning_rate=0.01), lr=0.01)
        >>> weight.grad = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
        >>> optimizer.step()
        >>> large, small = torch.linalg.svdvals((weight - before).detach()).tolist()
        >>> bool(large / small < 3)
        True

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025, arXiv:2502.16982
    (the size of a step).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, *, fused: bool = False) -> None:
        theirs = [group for group in groups if group.get("matrices")]
        others = [group for group in groups if not group.get("matrices")]
        self._muon = torch.optim.Muon(theirs, lr=lr * STRIDE, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(others or [{"params": []}], lr=lr, fused=fused)
        super().__init__(groups, {"lr": lr})  # the same dictionaries, which those two have filled, in the given order
        self._share()

    def _share(self) -> None:
        """Both see these very groups and this very state, so that a schedule and a checkpoint need to know one optimizer."""
        self._muon.param_groups = [group for group in self.param_groups if group.get("matrices")]
        self._adamw.param_groups = [group for group in self.param_groups if not group.get("matrices")]
        self._muon.state = self._adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """State and groups of a checkpoint."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both; a closure is called once."""
        loss = self._adamw.step(closure)
        self._muon.step()
        return loss


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
        if isinstance(module, (nn.Linear, SpikeLinear)) and in_block(f"{name}.weight")
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
    blocks = [_BLOCK.match(name) for name in names]
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


def in_block(name: str) -> bool:
    """Whether a parameter of this name lies in a block.

    Example:
        >>> in_block("blocks.3.attention.weight"), in_block("head.weight")
        (True, False)
    """
    return _BLOCK.match(name) is not None


_BLOCK = re.compile(r"^((?:.*?\.)?(?:stages\.\d+\.(?:blocks|layers)|blocks|layers|stages|layer\d+)\.\d+)\.")
