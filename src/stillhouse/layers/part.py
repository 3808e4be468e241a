"""Modules that are trained and have more to give than their output: students, and the parts that are trained along."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class TrainedPart(nn.Module):
    """The base of signals, temperatures and students with loss terms of their own; every method may be left as it is."""

    def figures(self) -> dict[str, float]:
        """Numbers of the last forward pass for the record, by name; {} before the first."""
        return {}

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Terms of the last forward pass that are added to the loss: name -> (weight, 0-d tensor)."""
        return {}

    def groups(self) -> list[dict[str, Any]]:
        """Optimizer groups of those parameters that want their own settings; the others are trained at the common rate."""
        return []


class Student(TrainedPart):
    """The base of networks of our own. Any module can be a student: one that has `regularizers` or `parameter_groups` without
    this base is asked for them all the same.
    """

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: matrices decay, vectors do not."""
        return matrices_decay(self, weight_decay)


def matrices_decay(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two optimizer groups of what is trained: tensors of two axes or more decay, others do not."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def regularizers(module: nn.Module) -> dict[str, tuple[float, Tensor]]:
    """The regularizers of any module that has some (a timm model has none)."""
    found = getattr(module, "regularizers", None)
    return dict(found()) if callable(found) else {}


def set_progress(module: nn.Module, fraction: float) -> None:
    """Tell a module that changes over training how much of it is done, in [0, 1]."""
    told = getattr(module, "set_progress", None)
    if callable(told):
        told(fraction)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The optimizer groups of any module: as it wants them, else matrices decay and vectors do not."""
    found = getattr(module, "parameter_groups", None)
    return list(found(weight_decay)) if callable(found) else matrices_decay(module, weight_decay)
