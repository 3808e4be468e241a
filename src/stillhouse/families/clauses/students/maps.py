"""Where in the image each clause speaks, for every model that keeps places.

Shapes: B images, C clauses, R S rows and columns of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.families.clauses.students.base import ClauseModel
from stillhouse.families.clauses.students.blocks import Block
from stillhouse.families.clauses.students.conv import ConvBlock, ConvClauses
from stillhouse.families.clauses.students.feed_forward import ClauseFeedForward
from stillhouse.families.clauses.students.resnet import ResidualBlock
from stillhouse.families.clauses.students.swin import WindowBlock

Laid = Callable[[Any], Tensor | None]


def _layout(name: str, part: nn.Module, grids: dict[str, tuple[int, int]], prefix: int) -> Laid | None:
    """How the output of a block becomes maps (B, C, R, S) of its clauses; None for other modules."""
    if isinstance(part, Block) and isinstance(part.feed_forward, ClauseFeedForward):
        grid = grids[name]
        return lambda output: output.strength[:, prefix:].transpose(1, 2).unflatten(2, grid)
    if isinstance(part, ConvBlock) and isinstance(part.clauses, ConvClauses):
        return lambda voted: voted.strength
    if isinstance(part, ResidualBlock):
        return lambda output: output[1].permute(0, 3, 1, 2)
    if isinstance(part, WindowBlock):
        windows = part.clauses.windows
        cells = (windows.padded[0] // windows.sides[0], windows.padded[1] // windows.sides[1])
        return lambda output: output[1].unflatten(0, (-1, windows.count)).transpose(1, 2).unflatten(2, cells)
    return None


@torch.no_grad()
def clause_maps(model: ClauseModel, pixels: Tensor) -> dict[str, Tensor]:
    """Strength of every clause of every block at every place: (B, C, R, S) by the path of the block.

    A place is a patch (transformers), a position of the feature map (ResNetTM, ConvTM) or a window (SwinTM). The maps cover
    the padded image. Draw one by stretching it over the image; the mean over C is the map of all clauses.

    Args:
        model: in eval mode.
        pixels: (B, channels, H, W) in [0, 1].

    Raises:
        InputError: a model whose clauses have no place (flat, deep, pyramid, hybrid), or a control without clauses.
    """
    grids: dict[str, tuple[int, int]] = {}
    if hasattr(model.config, "stages"):
        stages = model.config.stages()
        for name, part in model.named_modules():
            if isinstance(part, Block):
                number = int(name.split(".")[1]) if name.startswith("stages") else 0
                grids[name] = stages[number].grid
    prefix = int(getattr(model, "class_token", None) is not None)
    found: dict[str, Tensor] = {}
    hooks = []

    def listen(name: str, lay: Laid) -> Callable[[nn.Module, Any, Any], None]:
        def hook(part: nn.Module, args: Any, output: Any) -> None:
            laid = lay(output)
            if laid is not None:
                found[name] = laid

        return hook

    for name, part in model.named_modules():
        lay = _layout(name, part, grids, prefix)
        if lay is not None and next(model.banks(), None) is not None:
            hooks.append(part.register_forward_hook(listen(name, lay)))
    if not hooks:
        raise InputError(f"clause maps: {type(model).__name__} has no clauses with a place in the image")
    try:
        model(pixels)
    finally:
        for handle in hooks:
            handle.remove()
    return found
