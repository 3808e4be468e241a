"""Small random changes of training images, a function of (images, seed) alone.

The parameters are torchvision's (`RandomAffine(10, (0.1, 0.1), (0.9, 1.1))`, `RandomCrop` and `RandomHorizontalFlip`), but
a whole batch is moved at once: torchvision's transforms give a batch one draw, and image by image they cost five times more.

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["none", "affine", "crop-flip"]
DEGREES, SHIFT, SCALE = 10.0, 0.1, (0.9, 1.1)
CROP_PART = 8


def augment(inputs: Tensor, how: Augmentation, seed: int) -> Tensor:
    """A changed copy of the images; every image has its own draw, the global random state is left alone.

    Args:
        inputs: (B, C, H, W) floats in [0, 1], on any device; the draw is the same on each.
        how: `affine` turns, shifts (whole pixels) and scales; `crop-flip` shifts by up to an eighth and mirrors.
        seed: fixes the draw.

    Returns:
        (B, C, H, W) in [0, 1]; what comes in from outside the image is 0.

    Example:
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.equal(augment(x, "affine", seed=7), augment(x, "affine", seed=7))
        True
    """
    if how == "none":
        return inputs
    generator = torch.Generator().manual_seed(seed)
    if how == "affine":
        count, (h, w) = len(inputs), inputs.shape[-2:]
        angle = _uniform(count, -DEGREES, DEGREES, generator)
        shift_x = _uniform(count, -SHIFT * w, SHIFT * w, generator).round()
        shift_y = _uniform(count, -SHIFT * h, SHIFT * h, generator).round()
        return affine(inputs, angle, shift_x, shift_y, _uniform(count, *SCALE, generator))
    return _crop_flip(inputs, generator)


def affine(inputs: Tensor, angle: Tensor, shift_x: Tensor, shift_y: Tensor, scale: Tensor) -> Tensor:
    """Turn, scale about the middle, then shift every image by its own numbers, bilinear, zeros outside.

    Args:
        inputs: (B, C, H, W).
        angle: (B) degrees, clockwise.
        shift_x: (B) pixels to the right.
        shift_y: (B) pixels down.
        scale: (B) factor.

    Returns:
        (B, C, H, W), equal to `torchvision.transforms.v2.functional.affine` image by image.
    """
    h, w = inputs.shape[-2:]
    turn = angle * (math.pi / 180)
    cos, sin = turn.cos() / scale, turn.sin() / scale
    # grid_sample asks where a pixel comes from, so this is the inverse map; its coordinates run from -1 to 1 on both axes
    x_row = torch.stack([cos, sin * (h / w), -(cos * shift_x + sin * shift_y) * (2 / w)], dim=1)
    y_row = torch.stack([-sin * (w / h), cos, (sin * shift_x - cos * shift_y) * (2 / h)], dim=1)
    theta = torch.stack([x_row, y_row], dim=1).to(inputs)
    grid = functional.affine_grid(theta, list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs, grid, mode="bilinear", padding_mode="zeros", align_corners=False).clamp(0, 1)


def _crop_flip(inputs: Tensor, generator: torch.Generator) -> Tensor:
    count, (h, w) = len(inputs), inputs.shape[-2:]
    pad = max(1, h // CROP_PART)
    top = torch.randint(0, 2 * pad + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * pad + 1, (count, 1), generator=generator)
    mirrored = torch.rand((count, 1), generator=generator) < 0.5
    ys = top + torch.arange(h)
    xs = left + torch.where(mirrored, torch.arange(w).flip(0), torch.arange(w))
    padded = functional.pad(inputs, (pad, pad, pad, pad))
    rows = torch.arange(count)[:, None, None]
    # Advanced indices around a slice put the channels last
    index = [part.to(inputs.device) for part in (rows, ys[:, :, None], xs[:, None, :])]
    return padded[index[0], :, index[1], index[2]].permute(0, 3, 1, 2).contiguous()


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
