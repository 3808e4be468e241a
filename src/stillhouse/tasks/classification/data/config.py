"""Which images, how they are split and shaped: the `data` part of a run's configuration. No torch at module level."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.images import ImageData
    from stillhouse.tasks.classification.data.labelled_texts import TextData
    from stillhouse.tasks.classification.data.streamed import Loaded


@configclass
class DataConfig:
    """A labelled image data set: where it comes from, its three splits, its shape and its augmentation.

    Example:
        >>> data = DataConfig(name="digits").build()
        >>> data.sizes
        {'train': 970, 'validation': 108, 'test': 719}
    """

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder", "npz"] = Field(
        default="digits",
        description="the data set; folder: ROOT/[train/]CLASS/*.png, npz: arrays images and labels",
    )
    stream: bool = Field(
        default=False,
        description="of folder: decode images when they are needed, for more than memory holds",
    )
    root: str | None = Field(
        default=None,
        min_length=1,
        description="where it lies: the folder, the .npz file, or torchvision's root (STILLHOUSE_DATA or ~/.cache/stillhouse/data)",
    )
    download: bool = Field(default=True, description="fetch a torchvision set that is not under the root")
    image_size: int | None = Field(
        default=None,
        ge=4,
        le=1024,
        description="pixels a side: the middle square is cut out and resized (folder: 64 where image sizes differ)",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: to gray, 3: to RGB; as the images are where not given"
    )
    num_classes: int | None = Field(
        default=None, ge=2, description="classes of the head, at least those of the data: more leave room for later"
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the labelled training rows on which the best epoch is picked"
    )
    test_fraction: float = Field(
        default=0.4, gt=0, lt=1, description="share held out where the source has no test split"
    )
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    train_limit: int | None = Field(
        default=None, gt=0, description="train on that many images only, classes in proportion"
    )
    test_limit: int | None = Field(
        default=None, gt=0, description="test on that many images only, classes in proportion"
    )
    label_limit: int | None = Field(
        default=None,
        gt=0,
        description="so many labels for training and validation together, classes in proportion, drawn anew for each seed; the "
        "other training rows are used without",
    )
    augment: Literal["none", "shift", "affine", "crop-flip", "resized-crop"] = Field(
        default="none",
        description="shift: by an eighth; affine: turn 10 degrees, shift and scale 10 %; crop-flip: shift an eighth, mirror; "
        "resized-crop: any part of a quarter or more, mirror",
    )
    views: int | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="so many augmented views of each image, one an epoch and then again, each a function of view_seed, view and "
        "image: what a teacher's cache can hold [new changes at every step]",
    )
    view_seed: int | None = Field(default=None, ge=0, lt=2**32, description="of views [0]")
    randaugment: bool = Field(default=False, description="further random changes of each training image (RandAugment)")
    randaugment_operations: int = Field(default=2, ge=1, le=14, description="of randaugment: changes of one image")
    randaugment_magnitude: int = Field(default=9, ge=0, le=30, description="of randaugment: how strong, 30 is the most")

    def __post_init__(self) -> None:
        if self.stream and self.name != "folder":
            raise ValueError(
                f"stream: decodes image files when they are needed, and {self.name} has none; leave it out"
            )

    def build(self) -> ImageData:
        """Read the data set, check it and split it.

        Raises:
            InputError: the data are missing, damaged or not what they must be; the message names what was expected.
        """
        from stillhouse.tasks.classification.data.images import assemble

        return assemble(self._load(), self)

    def _load(self) -> Loaded:
        if self.name == "digits":
            from stillhouse.tasks.classification.data.torchvision_sets import load_digits

            return load_digits()
        if self.name == "folder":
            from stillhouse.tasks.classification.data.folder import load_folder

            return load_folder(self._given_root("the folder"), self.image_size, self.channels, stream=self.stream)
        if self.name == "npz":
            from stillhouse.tasks.classification.data.arrays import load_npz

            return load_npz(self._given_root("the .npz file"))
        from stillhouse.tasks.classification.data.torchvision_sets import load_torchvision

        root = self.root or os.environ.get("STILLHOUSE_DATA") or "~/.cache/stillhouse/data"
        return load_torchvision(self.name, Path(root).expanduser(), self.download)

    def _given_root(self, what: str) -> Path:
        if self.root is None:
            raise InputError(f"data set {self.name!r}: expected {what} in data.root, got none")
        return Path(self.root).expanduser()


@configclass
class TextDataConfig:
    """A file of labelled texts: a row a text, .csv or .tsv with a head, or .jsonl."""

    name: Literal["texts"] = Field(default="texts", description="texts: rows of a .csv, .tsv or .jsonl file")
    root: str = Field(min_length=1, description="the file")
    text_column: str = Field(default="text", min_length=1, description="column, or key, of the text")
    label_column: str = Field(default="label", min_length=1, description="column, or key, of the class")
    tokenizer: str | None = Field(
        default=None, min_length=1, description="tokenizer.json (of the package tokenizers); none: words, hashed"
    )
    vocabulary: int = Field(default=4096, ge=2, description="of hashed words: how many numbers they share")
    length: int = Field(default=64, gt=0, description="tokens of a text; longer ones are cut, shorter ones padded")
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the labelled rows that picks the best epoch"
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of the labelled rows held out for the test"
    )
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    train_limit: int | None = Field(default=None, gt=0, description="train on that many texts only")
    test_limit: int | None = Field(default=None, gt=0, description="test on that many texts only")
    label_limit: int | None = Field(
        default=None,
        gt=0,
        description="so many labels for training and validation together, classes in proportion, drawn anew for each seed; the "
        "other training rows are used without",
    )

    def build(self) -> TextData:
        """Read the file, tokenize and split it.

        Raises:
            InputError: the file is missing or damaged, or rows are not what they must be.
        """
        from stillhouse.tasks.classification.data.labelled_texts import load_texts

        return load_texts(self)
