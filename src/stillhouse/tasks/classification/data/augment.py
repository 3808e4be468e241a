"""Small random changes of training images, by torchvision, a function of (images, seed) alone.

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["none", "shift", "affine", "crop-flip", "resized-crop"]


def augment(inputs: Tensor, how: Augmentation, seed: int, *, randaugment: tuple[int, int] | None = None) -> Tensor:
    """A changed copy of the images; every image has its own draw, the global random state is left alone.

    Args:
        inputs: (B, C, H, W) floats in [0, 1].
        how: `shift` moves by up to an eighth; `affine` turns by up to 10 degrees, shifts by up to a tenth and scales by up to
            a tenth; `crop-flip` shifts by up to an eighth and mirrors; `resized-crop` takes a part of 25 % to 100 % of the
            area, of 3:4 to 4:3, resizes it to the whole and mirrors.
        seed: fixes the draw.
        randaugment: operations and magnitude (0 to 30) of a RandAugment that follows.

    Returns:
        (B, C, H, W) in [0, 1]; what comes in from outside the image is 0.

    Example:
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.equal(augment(x, "affine", seed=7), augment(x, "affine", seed=7))
        True

    Source: Cubuk et al. 2020, arXiv:1909.13719 (RandAugment).
    """
    if how == "none" and randaugment is None:
        return inputs
    change = _transform(how, inputs.shape[-2], inputs.shape[-1], randaugment)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if how == "shift" and randaugment is None:
            return _shifted(inputs)
        # one by one: torchvision gives a whole batch a single draw
        return torch.stack([change(image) for image in inputs]).clamp(0, 1)


def augment_rows(
    inputs: Tensor, how: Augmentation, draws: Sequence[tuple[int, ...]], *, randaugment: tuple[int, int] | None = None
) -> Tensor:
    """The same, each image changed by a draw of its own numbers: so that an image's change does not depend on its batch.

    Args:
        inputs: (B, C, H, W) floats in [0, 1].
        how: as in `augment`.
        draws: B tuples of whole numbers, which fix the draw of each image.
        randaugment: as in `augment`.
    """
    if how == "none" and randaugment is None:
        return inputs
    change = _transform(how, inputs.shape[-2], inputs.shape[-1], randaugment)
    changed = []
    with torch.random.fork_rng(devices=[]):
        for image, draw in zip(inputs, draws, strict=True):
            torch.manual_seed(int.from_bytes(blake2b(repr(draw).encode(), digest_size=7).digest(), "little"))
            changed.append(change(image))
    return torch.stack(changed).clamp(0, 1)


@cache
def _transform(
    how: Augmentation, height: int, width: int, randaugment: tuple[int, int] | None
) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    padding = [max(1, width // 8), max(1, height // 8)]
    crop = v2.RandomResizedCrop((height, width), scale=(0.25, 1.0), interpolation=bilinear, antialias=True)
    steps: dict[str, list[Callable[[Tensor], Tensor]]] = {
        "none": [],
        "shift": [lambda image: _shifted(image[None])[0]],
        "affine": [v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=bilinear)],
        "crop-flip": [v2.RandomCrop((height, width), padding=padding), v2.RandomHorizontalFlip()],
        "resized-crop": [crop, v2.RandomHorizontalFlip()],
    }
    if randaugment is None:
        further = []
    else:
        further = [v2.RandAugment(num_ops=randaugment[0], magnitude=randaugment[1], interpolation=bilinear)]
    changed: Callable[[Tensor], Tensor] = v2.Compose([*steps[how], *further])
    return changed


def _shifted(images: Tensor) -> Tensor:
    """Images (B, C, H, W), each moved by up to an eighth of a side either way, by draws of the global generator."""
    count, channels, height, width = images.shape
    down, right = max(1, height // 8), max(1, width // 8)
    padded = torch.nn.functional.pad(images, (right, right, down, down))
    rows = torch.randint(0, 2 * down + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(0, 2 * right + 1, (count, 1)) + torch.arange(width)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
