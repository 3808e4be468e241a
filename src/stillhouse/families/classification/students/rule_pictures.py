"""What a rule looks at: the patches of images at which a clause adds most.

Shapes: M images, C channels, E examples, h w sides of a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.families.classification.students.base import ClauseModel
from stillhouse.families.classification.students.transformer import UnifiedTMTransformer

EXAMPLES = 6


def examples(model: ClauseModel, images: Tensor, votes: Tensor) -> np.ndarray:
    """(E, C, h, w) uint8: the patches at which a clause adds most, each of another image; images where it looks at all of one."""
    _, height, width = model.image_shape
    first = class_tokens(model)
    local = votes[:, first:]
    if votes.shape[1] - first <= 1 or not bool(local.any()):
        best = votes.sum(1).topk(min(EXAMPLES, len(votes))).indices
        return as_bytes(images[best])
    columns, side = grid(model, local.shape[1], height, width)
    most, place = local.max(1)
    patches = []
    for image in most.topk(min(EXAMPLES, len(votes))).indices.tolist():
        row, column = divmod(int(place[image]), columns)
        patches.append(_patch(images[image], row * side[0], column * side[1], side))
    return as_bytes(torch.stack(patches))


def class_tokens(model: nn.Module) -> int:
    """How many places come before those of the image."""
    return int(isinstance(model, UnifiedTMTransformer) and model.class_token is not None)


def grid(model: nn.Module, places: int, height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Columns and the (h, w) of a place: the grid of so many places that is most like the image."""
    rows = min(
        (r for r in range(1, places + 1) if places % r == 0),
        key=lambda r: abs(np.log(r * r * width / (places * height))),
    )
    columns = places // rows
    side = getattr(model, "patch_size", None)
    if isinstance(side, int):
        while side * rows < height or side * columns < width:
            side *= 2
        return columns, (side, side)
    return columns, (-(-height // rows), -(-width // columns))


def _patch(image: Tensor, top: int, left: int, side: tuple[int, int]) -> Tensor:
    """(C, 3h, 3w): the patch with what is around it, which is darker; black beyond the image."""
    (h, w), shade = side, 0.4
    padded = nn.functional.pad(image, (w, 3 * w, h, 3 * h))[:, top : top + 3 * h, left : left + 3 * w].clone()
    middle = padded[:, h : 2 * h, w : 2 * w].clone()
    padded *= shade
    padded[:, h : 2 * h, w : 2 * w] = middle
    return padded


def as_bytes(pixels: Tensor) -> np.ndarray:
    """Pixels in [0, 1] as uint8."""
    return np.asarray((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
