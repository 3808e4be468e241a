"""Images in memory: one split, and the whole of a data set with what models must know of it.

Legend: B batch, N rows, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.tasks.classification.data.arrays import (
    check_class_names,
    check_rows,
    infer_class_names,
    optional_rows,
    rows_from_arrays,
)
from stillhouse.tasks.classification.data.augment import Augmentation, augment, augment_rows
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.label_draw import Hidden, limit_labels, whole_splits
from stillhouse.tasks.classification.data.shape import fit
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.data.splits import check_every_class, hold_out, limit
from stillhouse.tasks.classification.data.statistics import fingerprint, pixel_statistics
from stillhouse.tasks.classification.data.streamed import Loaded, Rows, Streamed


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


@dataclass(frozen=True)
class ImageData:
    """Three splits of one data set that share no row, and the task that they set.

    Attributes:
        name: of the data set.
        train: what is learned from; pixel mean and deviation of the task are its own.
        validation: on which the best epoch is picked, taken from the training split.
        test: read once, at the end.
        input_spec: class names, shape and pixel statistics.
        augmentation: what `augment` does.
        randaugment: operations and magnitude of a RandAugment after it.
        views: number of augmented views of each image; 0: new changes at every step.
        view_seed: fixes them.
        hidden: labels behind a limit, of which each seed of a run has some; None: every label is used.
        shown: what teachers look at, row for row, where students read something else that was made of it; None: the same.
    """

    name: str
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit
    input_spec: ImageSpec
    augmentation: Augmentation = "none"
    randaugment: tuple[int, int] | None = None
    shown: ImageData | None = None
    views: int = 0
    view_seed: int = 0
    hidden: Hidden | None = None

    @property
    def for_teachers(self) -> ImageData:
        """The images that a teacher looks at."""
        return self.shown or self

    @property
    def changes(self) -> bool:
        """Whether a training image differs from one epoch to the next."""
        return self.augmentation != "none" or self.randaugment is not None

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of every split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the pixels and labels of all splits: two runs with the same one saw the same data."""
        return fingerprint((name, split.held, split.labels) for name, split in whole_splits(self).items())

    def augment(self, inputs: Tensor, *, seed: int) -> Tensor:
        """A training batch (B, C, H, W), randomly changed by `augmentation`; the same seed gives the same batch."""
        return augment(inputs, self.augmentation, seed, randaugment=self.randaugment)

    def view(self, number: int, rows: Tensor) -> Batch:
        """Rows as one of their `views`: a function of `view_seed`, the number of the view and the row, whatever the batch."""
        batch = self.train.batch(rows)
        inputs = augment_rows(
            batch.inputs,
            self.augmentation,
            [(self.view_seed, number, int(row)) for row in rows],
            randaugment=self.randaugment,
        )
        return replace(batch, inputs=inputs)

    @property
    def views_key(self) -> dict[str, Any] | None:
        """What decides the views, for the key of a cache; None where images are taken as they are."""
        if not self.changes:
            return None
        return {
            "how": self.augmentation,
            "randaugment": self.randaugment,
            "seed": self.view_seed,
            "views": self.views,
        }

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
        train = rows_from_arrays(images, labels)
        tested = None if test is None else optional_rows(*test, "test_")
        validated = None if validation is None else optional_rows(*validation, "validation_")
        names = infer_class_names(train.labels) if class_names is None else tuple(str(word) for word in class_names)
        return assemble(Loaded(name, names, train, validated, tested), config or DataConfig())


def assemble(loaded: Loaded, config: DataConfig) -> ImageData:
    """Check, shape and split what a source has brought.

    Raises:
        InputError: see `check_rows`, `hold_out`, `limit` and `check_every_class`.
    """
    names, seed = loaded.class_names, config.split_seed
    check_class_names(names)
    loaded = _numbered(loaded)

    def shaped(split: str, rows: Rows) -> Rows:
        check_rows(split, rows, len(names))
        return fit(rows, config.image_size, config.channels)

    train = shaped("training", loaded.train)
    check_every_class(train.labels, names)
    if loaded.test is None:
        train, test = hold_out(train, config.test_fraction, seed, names, "test")
    else:
        test = shaped("test", loaded.test)
    if loaded.validation is None:
        train, validation = hold_out(train, config.validation_fraction, seed, names, "validation")
    else:
        validation = shaped("validation", loaded.validation)
    train = limit(train, config.train_limit, seed, len(names), "train")
    test = limit(test, config.test_limit, seed, len(names), "test")
    check_every_class(train.labels, names)
    for split, rows in (("validation", validation), ("test", test)):
        same_shape(f"{split} images", tuple(rows.images.shape[1:]), tuple(train.images.shape[1:]))

    if config.num_classes is not None:
        names = _with_room(names, config.num_classes)
    _, c, h, w = train.images.shape
    mean, std = pixel_statistics(train.images)
    data = ImageData(
        name=loaded.name,
        train=ImageSplit(train.images, train.labels, train.numbers),
        validation=ImageSplit(validation.images, validation.labels, validation.numbers),
        test=ImageSplit(test.images, test.labels, test.numbers),
        input_spec=ImageSpec(names, (c, h, w), mean, std),
        augmentation=config.augment,
        randaugment=(config.randaugment_operations, config.randaugment_magnitude) if config.randaugment else None,
        views=config.views or 0,
        view_seed=config.view_seed or 0,
    )
    return limit_labels(data, config.label_limit, config.validation_fraction, seed)


def _numbered(loaded: Loaded) -> Loaded:
    """The rows of a source with their numbers: those of training first, then validation, then test."""
    count, found = 0, {}
    for split in ("train", "validation", "test"):
        rows = getattr(loaded, split)
        if rows is not None:
            found[split] = replace(rows, numbers=torch.arange(count, count + len(rows.labels)))
            count += len(rows.labels)
    return replace(loaded, **found)


def _with_room(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    if count < len(names):
        raise InputError(f"num_classes: expected at least the {len(names)} classes of the data, got {count}")
    return (*names, *(f"unused {number}" for number in range(len(names), count)))
