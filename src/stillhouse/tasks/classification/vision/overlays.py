"""What an overlay shows: images, attention and clause strength on their grid, and probabilities, as arrays in the run folder.

Legend: M images, C channels, H height, W width, K classes, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.records import write_arrays
from stillhouse.tasks.classification.data.images import ImageData

OVERLAYS = "overlays.npz"


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


def write_overlays(model: Any, data: ImageData, folder: Path, samples: int) -> dict[str, np.ndarray]:
    """Images of the test split, drawn by class, and their maps, into `overlays.npz`; also what was written."""
    shown = data.test.sample(samples)
    batch = shown.batch(torch.arange(len(shown)))
    attention, clauses, logits = maps_of(model.eval(), batch.inputs)
    arrays = {
        "images": (batch.inputs * 255).round().to(torch.uint8).numpy(),
        "attention": attention.numpy().astype(np.float32),
        "clauses": clauses.numpy().astype(np.float32),
        "probabilities": torch.softmax(logits.float(), 1).numpy(),
        "labels": batch.labels.numpy(),
    }
    write_arrays(folder / OVERLAYS, **arrays)
    return arrays


def draw_overlays(
    arrays: Mapping[str, np.ndarray], model: Any, names: Sequence[str], out: Path, topk: int
) -> list[str]:
    """One picture an image: the image, attention over it, clause strength over it, bars of the likeliest classes.

    Args:
        arrays: of `write_overlays`.
        model: whose maps they are.
        names: (K) of classes.
        out: made if it is not there; `sample_00000.png` and so on.
        topk: classes in the bars.

    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, image in enumerate(arrays["images"]):
        figure = Figure(figsize=(14, 3.6), layout="constrained")
        axes = figure.subplots(1, 4)
        picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        label = names[int(arrays["labels"][number])]
        for axis, title in zip(axes, (f"image ({label})", "attention of the last block", "clause strength")):
            axis.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255)
            axis.set(title=title)
            axis.set_axis_off()
        height, width = picture.shape[0] + model.padding[1], picture.shape[1] + model.padding[0]
        # a map lies over the padded image, so that each patch is where it was cut
        for axis, name, colors in ((axes[1], "attention", "magma"), (axes[2], "clauses", "viridis")):
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axis.imshow(arrays[name][number], cmap=colors, alpha=0.55, extent=extent, interpolation="bilinear")
            axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
        _bars(axes[3], arrays["probabilities"][number], names, topk, label)
        written.append(out / f"sample_{number:05d}.png")
        figure.savefig(written[-1], dpi=120)
    return [str(path) for path in written]


def _bars(axis: Any, probabilities: np.ndarray, names: Sequence[str], topk: int, label: str) -> None:
    best = np.argsort(-probabilities, kind="stable")[:topk]
    colors = ["#2a7f62" if names[place] == label else "#8a8a8a" for place in best]
    bars = axis.barh(range(len(best)), probabilities[best], color=colors)
    axis.bar_label(bars, fmt="{:.1%}", padding=3)
    axis.set_yticks(range(len(best)), [names[place] for place in best])
    axis.invert_yaxis()  # the likeliest on top
    axis.set(xlim=(0, 1.15), title=f"top {len(best)}")
