"""From a source of images to an `ImageData`: checks, conversion, splits, statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from stillhouse.checks import InputError
from stillhouse.data.config import DataConfig
from stillhouse.data.images import ImageData, ImageSplit, as_images, as_labels, fingerprint
from stillhouse.data.sources import Loaded, Rows
from stillhouse.types import ImageTask


def assemble(source: Loaded, config: DataConfig) -> ImageData:
    """Check, convert and split a source."""
    known = len(source.class_names) or None
    train = _split(source.train, known, f"{source.name} training split", config)
    names = source.class_names or tuple(map(str, range(int(train.labels.max()) + 1)))
    _no_empty_class(train, names, source.name)
    if source.test is None:
        train, test = _hold_out(train, config.test_fraction, config.split_seed, names, "test_fraction")
    else:
        test = _split(source.test, len(names), f"{source.name} test split", config)
        if test.images.shape[1:] != train.images.shape[1:]:
            shapes = tuple(train.images.shape[1:]), tuple(test.images.shape[1:])
            raise InputError(
                f"{source.name}: expected test images like the training images {shapes[0]}, got {shapes[1]}"
            )
    train, validation = _hold_out(train, config.validation_fraction, config.split_seed, names, "validation_fraction")
    train = _limit(train, config.train_limit, config.split_seed, names)
    test = _limit(test, config.test_limit, config.split_seed, names)
    _no_empty_class(train, names, source.name)
    mean, std = _pixel_statistics(train.images)
    task = ImageTask(names, tuple(train.images.shape[1:]), mean, std)  # type: ignore[arg-type]
    return ImageData(source.name, train, validation, test, task, fingerprint(train, validation, test), config.augment)


def _split(rows: Rows, classes: int | None, where: str, config: DataConfig) -> ImageSplit:
    images = _convert(as_images(rows.images, where), config)
    return ImageSplit(images, as_labels(rows.labels, len(images), classes, where))


def _convert(images: Tensor, config: DataConfig) -> Tensor:
    if config.channels is not None and config.channels != images.shape[1]:
        from torchvision.transforms.v2 import functional as tv

        images = tv.rgb_to_grayscale(images) if config.channels == 1 else images.repeat(1, 3, 1, 1)
    side = config.image_size
    if side is not None and tuple(images.shape[2:]) != (side, side):
        from torchvision.transforms.v2 import functional as tv

        images = torch.cat([tv.resize(part, [side, side], antialias=True) for part in images.split(1024)])
        images = images.clamp(0, 1) if images.is_floating_point() else images
    return images


def _no_empty_class(split: ImageSplit, names: Sequence[str], where: str) -> None:
    counts = torch.bincount(split.labels, minlength=len(names))
    empty = [names[i] for i in (counts == 0).nonzero().flatten().tolist()]
    if empty:
        raise InputError(f"{where}: every class needs training images; none for {', '.join(map(repr, empty[:10]))}")
    if len(names) < 2:
        raise InputError(f"{where}: expected at least 2 classes, got {len(names)}")


def _hold_out(
    split: ImageSplit, share: float, seed: int, names: Sequence[str], what: str
) -> tuple[ImageSplit, ImageSplit]:
    """(rest, held out), in proportion by class."""
    counts = torch.bincount(split.labels, minlength=len(names))
    rarest = int(counts.argmin())
    if counts[rarest] < 2:
        raise InputError(
            f"{what}: a split needs at least 2 images of each class, class {names[rarest]!r} has {int(counts[rarest])}"
        )
    held = round(share * len(split))
    if held < len(names) or len(split) - held < len(names):
        raise InputError(
            f"{what}: expected room for each of the {len(names)} classes on both sides, "
            f"but {share} of {len(split)} images is {held}"
        )
    rest, out = train_test_split(
        np.arange(len(split)), test_size=held, random_state=seed, stratify=split.labels.numpy()
    )
    return split.rows(np.sort(rest)), split.rows(np.sort(out))


def _limit(split: ImageSplit, limit: int | None, seed: int, names: Sequence[str]) -> ImageSplit:
    if limit is None or limit >= len(split):
        return split
    if limit < len(names):
        raise InputError(f"limit: expected at least one image for each of the {len(names)} classes, got {limit}")
    if len(split) - limit < len(names):
        return split.rows(np.arange(limit))
    kept, _ = train_test_split(
        np.arange(len(split)), train_size=limit, random_state=seed, stratify=split.labels.numpy()
    )
    return split.rows(np.sort(kept))


def _pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0, 1]; float64 sums, in parts."""
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    square = torch.zeros_like(total)
    for part in images.split(2048):
        pixels = part.double() / scale
        total += pixels.sum((0, 2, 3))
        square += pixels.square().sum((0, 2, 3))
    count = images.numel() / images.shape[1]
    mean = total / count
    std = (square / count - mean.square()).clamp(min=1e-8).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
