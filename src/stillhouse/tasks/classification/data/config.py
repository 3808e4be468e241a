"""Which rows a run learns from, how they are split and what is made of them: the `data` part of a run. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass, settings

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.images import ImageData
    from stillhouse.tasks.classification.data.rows import RowData


@configclass
class SplitConfig:
    """Where rows lie, how they become three splits, and how many of them and of their labels are used."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share held out where there are no test rows")
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the labelled training rows on which the best epoch is picked"
    )
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="fixes which rows are held out and kept")
    train_limit: int | None = Field(default=None, gt=0, description="train on that many rows, classes in proportion")
    test_limit: int | None = Field(default=None, gt=0, description="test on that many rows, classes in proportion")
    label_limit: int | None = Field(
        default=None,
        gt=0,
        description="so many labels for training and validation together, classes in proportion, drawn anew for each seed; the "
        "other training rows are used without",
    )


@configclass
class DataConfig(SplitConfig):
    """A labelled image data set: where it comes from, its three splits, its shape and its augmentation.

    Example:
        >>> data = DataConfig(name="digits").build()
        >>> data.sizes
        {'train': 970, 'validation': 108, 'test': 719}
    """

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder", "npz"] = Field(
        default="digits", description="the data set; folder: ROOT/[train/]CLASS/*.png, npz: arrays images and labels"
    )
    stream: bool = Field(
        default=False, description="of folder: decode images when they are needed, for more than memory holds"
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
    test_fraction: float = Field(default=0.4, gt=0, lt=1, description="share held out where there are no test rows")
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

    def build(self) -> ImageData:
        """Read the data set, check it and split it.

        Raises:
            InputError: the data are missing, damaged or not what they must be; the message names what was expected.
        """
        from stillhouse.tasks.classification.data import images, sources

        if self.name == "digits":
            loaded = sources.load_digits()
        elif self.name in ("folder", "npz"):
            if self.root is None:
                raise InputError(f"data set {self.name!r}: expected its place in data.root, got none")
            root = Path(self.root).expanduser()
            if self.name == "npz":
                loaded = sources.load_npz(root)
            else:
                loaded = sources.load_folder(root, self.image_size, self.channels, stream=self.stream)
        else:
            place = self.root or os.environ.get("STILLHOUSE_DATA") or "~/.cache/stillhouse/data"
            loaded = sources.load_torchvision(self.name, Path(place).expanduser(), self.download)
        return images.assemble(loaded, self)


@configclass
class RowsConfig(SplitConfig):
    """A file of texts or of a table's rows, some of them labelled."""

    root: str = Field(
        min_length=1, description="the file; builtin:banking: messages of a bank's customers, in the package"
    )
    test: str | None = Field(
        default=None, min_length=1, description="a file of test rows; none: a share of the first is held out"
    )
    label_column: str = Field(default="label", min_length=1, description="column of the class; empty: no label")

    def build(self) -> RowData:
        """Read the file, split it, and make numbers of its rows.

        Raises:
            InputError: the file is missing or damaged, or rows are not what they must be.
        """
        from stillhouse.tasks.classification.data.rows import load_rows

        return load_rows(self)  # type: ignore[arg-type]


@configclass
class TextDataConfig(RowsConfig):
    """A file of labelled texts, of which the student reads tokens in their order."""

    name: Literal["texts"] = Field(default="texts", description="texts: rows of a .csv, .tsv, .jsonl or .parquet file")
    text_column: str = Field(default="text", min_length=1, description="column of the text")
    tokenizer: str | None = Field(
        default=None, min_length=1, description="tokenizer.json (of the package tokenizers); none: words, hashed"
    )
    vocabulary: int = Field(default=4096, ge=2, description="of hashed words: how many numbers they share")
    length: int = Field(default=64, gt=0, description="tokens of a text; longer ones are cut, shorter ones padded")


@configclass
class WordDataConfig(RowsConfig):
    """A file of labelled texts, of which the student sees how often each word of a vocabulary occurs."""

    name: Literal["words"] = Field(default="words", description="words: texts of a .csv, .tsv, .jsonl or .parquet file")
    text_column: str = Field(default="text", min_length=1, description="column of the text")
    ngrams: int = Field(default=2, ge=1, le=5, description="longest run of words that is a feature")
    max_words: int = Field(default=4000, ge=2, le=100_000, description="features, the commonest of the training texts")
    min_texts: int = Field(default=2, ge=1, description="training texts that a feature must be in")


@configclass
class TableDataConfig(RowsConfig):
    """A table of labelled rows: numbers become quantile thresholds, other columns one feature a value."""

    name: Literal["table"] = Field(default="table", description="table: rows of a .csv, .tsv, .jsonl or .parquet file")
    leave_out: tuple[str, ...] = Field(default=(), description="columns that are not read: numbers of rows, names")
    levels: int = Field(default=8, ge=1, le=200, description="thresholds of a number, at quantiles of training rows")
    categories: int = Field(default=32, ge=1, description="values of a category that are features, the commonest")
    min_rows: int = Field(default=5, ge=1, description="training rows that a feature must hold for, and not hold for")


KINDS: dict[str, Any] = {"texts": TextDataConfig, "words": WordDataConfig, "table": TableDataConfig}  # else images


def _as_named(value: Any) -> Any:
    """Texts, words or a table where they are named, else images; settings that a kind lacks go, where nobody set them.

    So `data.name=texts` over a recipe of images is read as a file that names texts.
    """
    if not isinstance(value, Mapping):
        kind: Any = type(value) if type(value) in KINDS.values() else DataConfig
        return TypeAdapter(kind).validate_python(value)
    here = KINDS.get(str(value.get("name")), DataConfig)
    others = {key: info.default for kind in (DataConfig, *KINDS.values()) for key, info in settings(kind).items()}
    given = {key: one for key, one in value.items() if key in settings(here) or one != others.get(key, ...)}
    return TypeAdapter(here).validate_python(given)


ClassesDataConfig = Annotated[DataConfig | TextDataConfig | WordDataConfig | TableDataConfig, PlainValidator(_as_named)]


Preset = Literal["mnist", "fashionmnist", "cifar10", "generic_28_gray", "generic_32_rgb", "generic_64_rgb"]
PRESETS: dict[str, tuple[int, bool]] = {  # side in pixels, gray
    "mnist": (28, True),
    "fashionmnist": (28, True),
    "cifar10": (32, False),
    "generic_28_gray": (28, True),
    "generic_32_rgb": (32, False),
    "generic_64_rgb": (64, False),
}


@configclass
class FeaturesMode:
    """Raw pixels, or bits made once from oriented filters and quantiles and kept packed on disk."""

    mode: Literal["raw", "conv", "fashion_aug"] = Field(
        default="raw",
        description="raw pixels; conv: 76 bits a pixel; fashion_aug: those of zoomed, turned, mirrored copies too",
    )
    preset: Preset | None = Field(default=None, description="size and channels by name; none: as the images are")
    size: tuple[int, int] | None = Field(
        default=None, description="two numbers, height and width, that images are resized to first"
    )
    grayscale: bool | None = Field(default=None, description="gray first; none: as in the preset, or as they are")
    cache: str = Field(default="~/.cache/stillhouse/boolean-features", description="folder of the packed bits")
    force: bool = Field(default=False, description="build them again")

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height, width) of the images that bits are made of, from those of the data."""
        side, gray = (None, None) if self.preset is None else PRESETS[self.preset]
        gray = gray if self.grayscale is None else self.grayscale
        return (1 if gray else channels), *(self.size or ((side, side) if side else (height, width)))
