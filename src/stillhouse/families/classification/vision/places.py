"""Where read-outs stand in a student: after the embedding, after each block, before the head."""

from __future__ import annotations

import re
from typing import Any

import torch

from stillhouse.core.types import ImageTask
from stillhouse.families.classification.students.blocks import Block
from stillhouse.layers.taps import Tapped

_BLOCK = re.compile(r"^(?:stages\.\d+\.)?blocks\.\d+$|^(?:layers|stages)\.\d+$")


def places_of(student: Any, task: ImageTask) -> tuple[str, ...]:
    """Paths of the modules, first to last; the last is what the head reads. Empty where the student has no such modules.

    Args:
        student: a student's configuration.
        task: what it is built for.
    """
    with torch.random.fork_rng(devices=[]):
        model = student.build(task)
    names = [name for name, _ in model.named_modules()]
    blocks = [name for name in names if _BLOCK.match(name)]
    inner = [name for name in blocks if not any(other.startswith(f"{name}.") for other in blocks)]
    found = ("patch_norm", *inner, "norm")
    wanted = [name for name in found if name in names]
    if not inner or "norm" not in names:
        return ()
    return tuple(name for name in wanted if _answers(model, name, task))


def heads_of(student: Any, task: ImageTask) -> dict[str, int]:
    """Where the contexts of attention heads can be read, and how many there are side by side; empty without such heads."""
    with torch.random.fork_rng(devices=[]):
        model = student.build(task)
    return {
        f"{name}.contexts": block.heads.heads
        for name, block in model.named_modules()
        if isinstance(block, Block) and block.attention is not None
    }


def _answers(model: torch.nn.Module, name: str, task: ImageTask) -> bool:
    """Whether the module puts out one tensor (first of a tuple) in a forward pass: a container of others does not."""
    tapped = Tapped(model, (name,))
    try:
        return name in tapped.spec(task.example(2)).features
    finally:
        tapped.close()
