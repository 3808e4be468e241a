"""What an overlay shows: images, attention and clause strength on their grid, and probabilities, as arrays in the run folder.

Legend: M images, C channels, H height, W width, K classes, N tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.classification.data import ImageData
from stillhouse.core.records import write_arrays, write_json

OVERLAYS, NAMES = "overlays.npz", "overlays.json"


@torch.no_grad()
def maps_of(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attention, clause strength and logits of a transformer with clauses.

    Attention is the real one of the last block: the weights with which the class token reads the patches, mean over heads;
    without a class token, what each patch gets from all others (in windows: from its window). Clause strength is the mean
    over the last block's clauses at each patch.

    Args:
        model: in eval mode.
        pixels: (M, C, H, W) in [0, 1].

    Returns:
        (M, rows, columns) each, and logits (M, K). Without clauses their map is 0.
    """
    block = list(model.named_blocks())[-1][1]
    seen: dict[str, Any] = {}
    hooks = [
        block.attention.register_forward_pre_hook(lambda part, args: seen.update(attended=args[0])),
        block.register_forward_hook(lambda part, args, block_out: seen.update(strength=block_out.strength)),
    ]
    try:
        logits = model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    attended, strength = seen["attended"], seen["strength"]
    first = int(model.class_token is not None)
    attention = (
        block.attention.received(attended) if hasattr(block.attention, "received") else _read(block, attended, first)
    )
    clauses = torch.zeros_like(attention) if strength is None else strength[:, first:].mean(-1)
    grid = model.config.stages()[-1].grid
    return attention.unflatten(1, grid), clauses.unflatten(1, grid), logits


def _read(block: Any, attended: Tensor, first: int) -> Tensor:
    weights = block.attention.weights(attended).mean(1)  # (M, N, N)
    return weights[:, 0, 1:] if first else weights.mean(1)


def write_overlays(model: Any, data: ImageData, folder: Path, samples: int) -> None:
    """Images of the test split, drawn by class, into `overlays.npz` and `overlays.json`."""
    shown = data.test.sample(samples)
    batch = shown.batch(torch.arange(len(shown)))
    model.eval()
    attention, clauses, logits = maps_of(model, batch.inputs)
    padding, patch = model.padding, model.patch_size
    write_arrays(
        folder / OVERLAYS,
        images=(batch.inputs * 255).round().to(torch.uint8).numpy(),
        attention=attention.numpy().astype(np.float32),
        clauses=clauses.numpy().astype(np.float32),
        probabilities=torch.softmax(logits.float(), 1).numpy(),
        labels=batch.labels.numpy(),
    )
    height, width = data.task.shape[1:]
    covered = [height + padding[1], width + padding[0]]
    write_json(folder / NAMES, {"class_names": list(data.task.class_names), "covered": covered, "patch": patch})
