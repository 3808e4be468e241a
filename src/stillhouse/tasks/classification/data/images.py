"""Labelled images: one split, and the whole of a data set with what models must know of it.

Legend: B batch, N rows, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.labels import MISSING
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.tasks.classification.data.augment import Augmentation, augment, augment_rows
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.split import Split, SplitData, hold_out, limit, limit_labels
from stillhouse.tasks.classification.data.streamed import CHUNK, Streamed

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow turns RGB to gray


@dataclass(frozen=True)
class ImageSplit(Split):
    """One split, in memory or decoded when its rows are asked for.

    Attributes:
        images: (N, C, H, W) uint8, or float32 in [0, 1], or `Streamed`.
        labels: (N) int64; -1 where a training row has none.
        numbers: (N) int64 of the rows among all that their source has: training, validation, test; None: not known.
    """

    images: Tensor | Streamed
    labels: Tensor
    numbers: Tensor | None = None

    @property
    def held(self) -> Tensor | Streamed:
        """(N, ...) what it is made of: the images."""
        return self.images

    def ahead(self, index: Tensor) -> None:
        """Say which rows are asked for next, so that their decoding can begin."""
        if isinstance(self.images, Streamed):
            self.images.ahead(index)

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index.

        Args:
            index: (B) int64 rows from 0 to N - 1.

        Returns:
            inputs (B, C, H, W) float32 in [0, 1], labels (B), the index, and the numbers of the rows.
        """
        images = self.images.index_select(0, index)
        inputs = images.float().div_(255) if images.dtype == torch.uint8 else images
        rows = None if self.numbers is None else self.numbers.index_select(0, index)
        return Batch(inputs, self.labels.index_select(0, index), index, rows=rows)

    def pick(self, index: Tensor) -> ImageSplit:
        """The rows of an index as a split, copied; of streamed images nothing is decoded."""
        if len(index) == len(self):
            return self
        streamed = isinstance(self.images, Streamed)
        images = self.images.pick(index) if streamed else self.images.index_select(0, index)  # type: ignore[union-attr]
        numbers = None if self.numbers is None else self.numbers.index_select(0, index)
        return ImageSplit(images, self.labels.index_select(0, index), numbers)


@dataclass(frozen=True)
class Loaded:
    """A data set as its source has it: the splits that it brings, None for those that must be taken from `train`."""

    name: str
    class_names: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit | None = None
    test: ImageSplit | None = None


@dataclass(frozen=True)
class ImageData(SplitData):
    """Three splits of images, of which pixel mean and deviation are those of the training split.

    Attributes:
        augmentation: what `augment` does.
        randaugment: operations and magnitude of a RandAugment after it.
        views: number of augmented views of each image; 0: new changes at every step.
        view_seed: fixes them.
        shown: what teachers look at, row for row, where students read something else that was made of it; None: the same.
    """

    augmentation: Augmentation = "none"
    randaugment: tuple[int, int] | None = None
    shown: ImageData | None = None
    views: int = 0
    view_seed: int = 0

    @property
    def for_teachers(self) -> ImageData:
        """The images that a teacher looks at."""
        return self.shown or self

    @property
    def changes(self) -> bool:
        """Whether a training image differs from one epoch to the next."""
        return self.augmentation != "none" or self.randaugment is not None

    def augment(self, inputs: Tensor, *, seed: int) -> Tensor:
        """A training batch (B, C, H, W), randomly changed by `augmentation`; the same seed gives the same batch."""
        return augment(inputs, self.augmentation, seed, randaugment=self.randaugment)

    def view(self, number: int, rows: Tensor) -> Batch:
        """Rows as one of their `views`: a function of `view_seed`, the number of the view and the row, whatever the batch."""
        batch, draws = self.train.batch(rows), [(self.view_seed, number, int(row)) for row in rows]
        return replace(batch, inputs=augment_rows(batch.inputs, self.augmentation, draws, randaugment=self.randaugment))

    @property
    def views_key(self) -> dict[str, Any] | None:
        """What decides the views, for the key of a cache; None where images are taken as they are."""
        if not self.changes:
            return None
        names = {"how": self.augmentation, "randaugment": self.randaugment, "seed": self.view_seed}
        return {**names, "views": self.views}

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
        test: tuple[Any, Any] | None = None,
        validation: tuple[Any, Any] | None = None,
        config: DataConfig | None = None,
    ) -> ImageData:
        """A data set from NumPy arrays or tensors.

        Args:
            images: (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1 or 3; uint8, or floats in [0, 1].
            labels: (N) whole numbers from 0 to K - 1; -1 or None where a row has no label: it is a training row.
            class_names: (K); the numbers as words where not given.
            name: what reports call it.
            test: images and labels of a test split of its own; taken from `images` where not given.
            validation: the same of a validation split.
            config: fractions, seed, limits, size, channels and augmentation; its `name`, `root` and `download` are not read.

        Raises:
            InputError: anything that could not be trained on; the message names what was expected and what came.

        Example:
            >>> import numpy as np
            >>> images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8)
            >>> data = ImageData.from_arrays(images, np.arange(40) % 2, class_names=["even", "odd"])
            >>> data.sizes, data.input_spec.shape
            ({'train': 21, 'validation': 3, 'test': 16}, (1, 8, 8))
        """
        from stillhouse.tasks.classification.data.sources import loaded_arrays

        splits = {"train": (images, labels), "validation": validation, "test": test}
        return assemble(loaded_arrays(name, splits, class_names), config or DataConfig())


def assemble(loaded: Loaded, config: DataConfig) -> ImageData:
    """Check, shape and split what a source has brought.

    Raises:
        InputError: pixels or labels out of range, a class without a training image, too few rows for a split or a limit.
    """
    names, seed = loaded.class_names, config.split_seed
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"expected 2 classes or more, each name once, got {len(names)}: {', '.join(names[:9])}")
    count, splits = 0, {}
    for split in ("train", "validation", "test"):
        given: ImageSplit | None = getattr(loaded, split)
        if given is not None:
            _check(split, given, len(names))
            numbered = replace(given, numbers=torch.arange(count, count + len(given)))
            splits[split] = _fitted(numbered, config.image_size, config.channels)
            count += len(given)
    train = splits["train"]
    _check_every_class(train.labels, names)
    for split, share in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if split not in splits:
            left, held = hold_out(train.labels, share, seed, names, split)
            train, splits[split] = train.pick(left), train.pick(held)
    train = train.pick(limit(train.labels, config.train_limit, seed, len(names), "train"))
    test = splits["test"].pick(limit(splits["test"].labels, config.test_limit, seed, len(names), "test"))
    _check_every_class(train.labels, names)
    for split, rows in (("validation", splits["validation"]), ("test", test)):
        same_shape(f"{split} images", tuple(rows.images.shape[1:]), tuple(train.images.shape[1:]))
    room = config.num_classes or len(names)
    if room < len(names):
        raise InputError(f"num_classes: expected at least the {len(names)} classes of the data, got {room}")
    names = (*names, *(f"unused {number}" for number in range(len(names), room)))
    _, c, h, w = train.images.shape
    data: ImageData = limit_labels(
        ImageData(
            loaded.name,
            train,
            splits["validation"],
            test,
            ImageSpec(names, (c, h, w), *pixel_statistics(train.images)),
            augmentation=config.augment,
            randaugment=(config.randaugment_operations, config.randaugment_magnitude) if config.randaugment else None,
            views=config.views or 0,
            view_seed=config.view_seed or 0,
        ),
        config.label_limit,
        config.validation_fraction,
        seed,
    )
    return data


def _check(split: str, rows: ImageSplit, num_classes: int) -> None:
    """Raise unless a split has rows, pixels that are numbers in [0, 1] (or uint8) and labels in 0..K-1, or -1 for training."""
    images = rows.images
    if 0 in images.shape:
        raise InputError(f"{split} split: expected at least one image, got none (shape {tuple(images.shape)})")
    if images.dtype != torch.uint8:
        low, high = (float(end) for end in images.aminmax())  # type: ignore[union-attr]
        if not 0 <= low <= high <= 1:  # NaN is neither
            raise InputError(
                f"{split} split: expected finite pixels in [0, 1], got {low:g} to {high:g}; give uint8, or divide by 255"
            )
    wrong = (rows.labels < (MISSING if split == "train" else 0)) | (rows.labels >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise InputError(
            f"{split} split: expected labels from 0 to {num_classes - 1} ({num_classes} classes), got {int(rows.labels[first])} "
            f"in row {first} ({int(wrong.sum())} rows out of range)"
        )


def _check_every_class(labels: Tensor, class_names: Sequence[str]) -> None:
    """Raise unless every class has a labelled training image: a class never seen cannot be learned, only guessed."""
    counts = torch.bincount(labels[labels != MISSING], minlength=len(class_names))
    if not counts.all():
        raise InputError(
            f"class {class_names[int(counts.argmin())]!r} has no training images: expected at least one for each of "
            f"{len(class_names)} classes"
        )


def _fitted(rows: ImageSplit, image_size: int | None, channels: int | None) -> ImageSplit:
    """Images of the side and the channels that are asked for: the middle square is cut out, nothing is squeezed."""
    images = rows.images
    if isinstance(images, Streamed):  # decoded to what was asked for
        return rows
    _, c, h, w = images.shape
    resized = image_size is not None and (h, w) != (image_size, image_size)
    if not resized and channels in (None, c):
        return rows
    side, (top, left) = min(h, w), ((h - min(h, w)) // 2, (w - min(h, w)) // 2)
    fitted = []
    for chunk in images.split(CHUNK):
        x = chunk.float()
        if channels == 1 and c == 3:
            x = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if resized:
            x = torch.nn.functional.interpolate(
                x[..., top : top + side, left : left + side], image_size, mode="bilinear", antialias=True
            )
        if channels == 3:
            x = x.expand(-1, 3, -1, -1)
        fitted.append(x.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else x.clamp(0, 1))
    return replace(rows, images=torch.cat(fitted))


def pixel_statistics(images: Tensor | Streamed) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, in units of pixels in [0, 1].

    A channel that never changes gets the deviation 1, so that nobody divides by zero.

    Args:
        images: (N, C, H, W) uint8, or floats in [0, 1]; of streamed images a sample is looked at.

    Returns:
        (C) means, (C) standard deviations.

    Example:
        >>> pixel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
        ((0.5,), (0.5,))
    """
    images = images.sample() if isinstance(images, Streamed) else images
    moments = [_moments(images[:, c]) for c in range(images.shape[1])]
    return tuple(mean for mean, _ in moments), tuple(std if std > 1e-6 else 1.0 for _, std in moments)


def _moments(channel: Tensor) -> tuple[float, float]:
    """Mean and deviation, by the values that there are and how often: exact sums of the few values of bytes."""
    if channel.dtype == torch.uint8:
        values, counts = torch.arange(256).double() / 255, torch.bincount(channel.flatten(), minlength=256)
    else:
        values, counts = channel.double().unique(return_counts=True)
    share = counts.double() / counts.sum()
    mean = (values * share).sum()
    return float(mean), float(((values - mean).square() * share).sum().sqrt())
