"""The last linear layer of any classifier: find it, re-make it."""

from __future__ import annotations

import torch
from torch import nn

from stillhouse.core.checks import InputError


def final_linear(module: nn.Module, name: str) -> str:
    """Path of the linear layer that gives the logits: timm's own word for it, else the last `nn.Linear`.

    Raises:
        InputError: there is none.

    Example:
        >>> final_linear(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 10)), "mine")
        '2'
    """
    own = getattr(module, "get_classifier", None)
    wanted = own() if callable(own) else None
    linears = [(path, child) for path, child in module.named_modules() if isinstance(child, nn.Linear)]
    for path, child in linears:
        if child is wanted:
            return path
    if wanted is not None or not linears:
        raise InputError(f"teacher {name}: expected a linear last layer, found none; fine-tune it with train-teacher")
    return linears[-1][0]


def replace_head(module: nn.Module, path: str, num_classes: int) -> None:
    """Put a fresh linear layer of `num_classes` outputs at `path`."""
    old = module.get_submodule(path)
    assert isinstance(old, nn.Linear)
    parent, _, last = path.rpartition(".")
    fresh = nn.Linear(old.in_features, num_classes)
    with torch.no_grad():
        nn.init.zeros_(fresh.bias)
    setattr(module.get_submodule(parent), last, fresh)
