"""Bits of images by oriented filters and quantiles: what flat clause machines read in place of pixels.

76 bits a pixel and channel, which `logic.filter_bits` describes. Quantiles are those of the image itself, so a picture's bits
depend on nothing else.

Legend: B images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.labels import missing_labels, require_labels
from stillhouse.core.records import read_json, write_json
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.logic.filter_bits import BITS, KERNELS, PIXEL, REACH, RESPONSE
from stillhouse.losses.softened import without_autocast
from stillhouse.tasks.classification.data.config import FeaturesMode
from stillhouse.tasks.classification.data.images import ImageData, ImageSplit
from stillhouse.tasks.classification.data.split import Split

RAW, POSITIVE, NEGATIVE = PIXEL[1:], RESPONSE[1:5], tuple(-share for share in RESPONSE[5:])  # hundredths
COPIES: tuple[tuple[float, float, bool], ...] = (  # angle in degrees, zoom, mirrored
    (0.0, 1.0, False),
    (0.0, 0.9, False),
    (0.0, 1.1, False),
    (-6.0, 1.0, False),
    (6.0, 1.0, False),
    (0.0, 1.0, True),
)


@without_autocast
@torch.no_grad()
def boolean_features(images: Tensor, square: int = 1) -> Tensor:
    """The bits of images (see `logic.filter_bits`, which has the same ones in numpy), those of each square joined by OR.

    A joined bit asks whether a pixel anywhere in its square has it. Whether some response of a square is above a level is whether
    its largest is, so that squares are joined before anything is compared.

    Args:
        images: (B, C, H, W) in [0, 1]; bits are those of the nearest bytes.
        square: side in pixels of what is joined; 1 joins nothing. At the right and lower edge squares are cut off.

    Returns:
        (B, 76 C, H / square, W / square) bool, whole squares and parts of one.

    Example:
        A black image has no bit at all.

        >>> boolean_features(torch.zeros(1, 1, 8, 8)).any().item(), tuple(boolean_features(torch.rand(2, 3, 8, 8)).shape)
        (False, (2, 228, 8, 8))
        >>> tuple(boolean_features(torch.rand(1, 1, 10, 8), square=4).shape)
        (1, 76, 3, 2)
    """
    count, channels, height, width = images.shape
    # bytes, and kernels in whole numbers: sums are exact in whatever order they are added, on whatever device
    maps = (images.reshape(count * channels, 1, height, width) * 255).round()
    responses = torch.nn.functional.conv2d(maps, torch.from_numpy(KERNELS).to(maps)[:, None], padding=REACH).round()
    bright, _ = _levels(maps, RAW, ())
    above, below = _levels(responses, POSITIVE, NEGATIVE)
    brightest = _largest(maps, square)
    largest, smallest = _largest(responses, square)[:, :, None], -_largest(-responses, square)[:, :, None]
    asked = torch.cat([largest > 0, largest > above, smallest < below], dim=2).flatten(1, 2)
    joined = torch.cat([brightest > 0, brightest > bright[:, 0], asked], dim=1)
    return joined.reshape(count, channels * BITS, *joined.shape[2:])


def _largest(maps: Tensor, square: int) -> Tensor:
    """The largest entry of each square, row by row and then column by column: faster than `max_pool2d` on a CPU."""
    maps = torch.nn.functional.pad(maps, (0, -maps.shape[3] % square, 0, -maps.shape[2] % square), value=-torch.inf)
    rows = reduce(torch.maximum, [maps[:, :, place::square] for place in range(square)])
    return reduce(torch.maximum, [rows[..., place::square] for place in range(square)])


FILTERS = ("Sobel", "diagonal", "wide Sobel", "line")


def feature_name(bit: int, channels: int = BITS) -> str:
    """What a channel of `boolean_features` asks.

    Args:
        bit: its number.
        channels: of all; more than 76 are several image channels.

    Example:
        >>> feature_name(0), feature_name(2), feature_name(4), feature_name(14), feature_name(12)
        ('bright', 'brighter than 50 %', 'Sobel above 0', 'turned Sobel above 25 %', 'Sobel below 25 %')
    """
    names = ["bright", *(f"brighter than {share}%" for share in RAW)]
    levels = ["above 0", *(f"above {share}%" for share in POSITIVE), *(f"below {share}%" for share in NEGATIVE)]
    names += [f"{turned}{kernel} {level}" for kernel in FILTERS for turned in ("", "turned ") for level in levels]
    image_channel, place = divmod(bit, BITS)
    of = f" (channel {image_channel})" if channels > BITS else ""
    return names[place].replace("%", " %") + of


def _levels(maps: Tensor, above: tuple[int, ...], below: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(B, M, shares, 1, 1) each: quantiles of the positive entries of M maps, and of the negative ones by their size.

    By nearest rank, halves to even; infinity where there are no entries. One sort serves both: negative entries come first, the
    largest of them in front.
    """
    values = _sorted(maps.flatten(0, 1).flatten(1)).unflatten(0, maps.shape[:2])
    positive, negative = ((side.to(maps.dtype).sum(-1, keepdim=True)).long() for side in (values > 0, values < 0))

    def quantiles(shares: tuple[int, ...], many: Tensor, end: Tensor, sign: int) -> Tensor:
        exact = torch.tensor(shares, device=maps.device) * (many - 1).clamp(min=0)
        rank = (exact + 49 + exact // 100 % 2) // 100
        found = values.gather(-1, (end + sign * rank).clamp(0, values.shape[-1] - 1))
        return torch.where(many > 0, found, sign * torch.inf)[..., None, None]

    return quantiles(above, positive, values.shape[-1] - positive, 1), quantiles(below, negative, negative - 1, -1)


def _sorted(rows: Tensor) -> Tensor:
    """Rows in rising order; on a CPU by NumPy, whose vectorized sort takes a fraction of torch's time."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    if rows.device.type != "cpu" or traced or type(rows) is not Tensor:
        return rows.sort(dim=1).values
    return torch.from_numpy(np.sort(rows.detach().numpy(), axis=1))


def copies(images: Tensor) -> list[Tensor]:
    """The images and five changed copies of each: zoomed out and in, turned by 6 degrees either way, mirrored left to right.

    The original pipeline mirrors top to bottom, which shows shirts upside down; that is not repeated.

    Args:
        images: (B, C, H, W).
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as change

    made = []
    for angle, zoom, mirrored in COPIES:
        x = images.flip(-1) if mirrored else images
        if angle or zoom != 1.0:
            nothing = {"translate": [0, 0], "shear": [0.0, 0.0]}
            x = change.affine(x, angle=angle, scale=zoom, interpolation=InterpolationMode.BILINEAR, **nothing)
        made.append(x)
    return made


# ---------------------------------------------------------------------------------------------- kept on disk

FORMAT = "stillhouse-boolean-features-6"
AT_ONCE = 256  # images


@dataclass(frozen=True)
class PackedSplit(Split):
    """A split of bits, eight to a byte, read from disk as they are wanted.

    Attributes:
        packed: (N, ceil(C H W / 8)) uint8.
        labels: (N) int64.
        shape: (C, H, W).
    """

    packed: np.ndarray
    labels: Tensor
    shape: tuple[int, int, int]

    @property
    def held(self) -> Tensor:
        """(N, ...) what is on disk: the packed bits, read as they are looked at."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that the file is not writable; nobody writes
            return torch.from_numpy(self.packed)

    def batch(self, index: Tensor) -> Batch:
        """The rows of an index: inputs (B, C, H, W) float32 of 0 and 1."""
        rows = np.unpackbits(self.packed[index.numpy()], axis=1, count=int(np.prod(self.shape)))
        return Batch(torch.from_numpy(rows).float().view(-1, *self.shape), self.labels.index_select(0, index), index)


@dataclass(frozen=True)
class CopiedSplit(Split):
    """The images that the bits of `fashion_aug` were made of, row by row: for teachers, who read pixels.

    Attributes:
        split: N images.
    """

    split: ImageSplit

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        """Of every copy."""
        return self.split.labels.repeat_interleave(len(COPIES))

    def batch(self, index: Tensor) -> Batch:
        """The copies of an index: inputs (B, C, H, W), labels (B), and the index."""
        images = self.split.batch(index // len(COPIES))
        place = torch.arange(len(index)) * len(COPIES) + index % len(COPIES)
        return Batch(_side_by_side(images.inputs).index_select(0, place), images.labels, index)

    def batches(self, size: int) -> Iterator[Batch]:
        """All copies of `size` images at a time, in the order of the bits."""
        place = 0
        for batch in self.split.batches(size):
            images = _side_by_side(batch.inputs)
            index = torch.arange(place, place + len(images))
            yield Batch(images, batch.labels.repeat_interleave(len(COPIES)), index)
            place += len(images)


def with_boolean_features(data: ImageData, config: FeaturesMode) -> ImageData:
    """The same splits as bits; from the cache if it holds exactly them.

    A folder of the cache is named by what decides its content: the pixels and labels of the data set and how bits are made. It is
    written under another name and renamed when it is whole.

    Args:
        data: images.
        config: mode, size, channels, cache.

    Returns:
        Splits of bits; `shown` are the images, for teachers.

    Raises:
        InputError: the images change from epoch to epoch, the cache folder cannot be written, or what it holds is damaged.
    """
    if config.mode == "raw":
        return data
    if data.changes:
        raise InputError("data.augment, data.randaugment: boolean features are made once; take mode fashion_aug")
    require_labels(missing_labels(data.train.labels), "data, as boolean features", "training")
    shape = config.shape(*data.input_spec.shape)
    key = json.dumps([FORMAT, data.sha256, config.mode, *shape])
    folder = Path(config.cache).expanduser() / (
        f"{data.name}-{config.mode}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    )
    if config.force:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        try:
            _build(data, config.mode, shape, folder)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from None
    try:
        hashes = read_json(folder / "manifest.json")
        if changed := [name for name, digest in hashes.items() if sha256_of(folder / name) != digest]:
            raise InputError(f"{folder / changed[0]} was changed after it was written")
    except InputError as error:
        raise InputError(f"{error}; delete the folder, or give features.force=true") from None
    channels, *sides = shape
    bits = (BITS * channels, sides[0], sides[1])
    splits: Any = {}
    for name in data.sizes:
        packed, labels = np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(folder / f"{name}-labels.npy")
        splits[name] = PackedSplit(packed, torch.from_numpy(labels), bits)
    spec = ImageSpec(data.input_spec.class_names, bits, (0.0,) * bits[0], (1.0,) * bits[0])
    seen = replace(data, train=CopiedSplit(data.train)) if config.mode == "fashion_aug" else data
    return ImageData(f"{data.name} ({config.mode})", **splits, input_spec=spec, shown=seen)


def _build(data: ImageData, mode: str, shape: tuple[int, int, int], folder: Path) -> None:
    """Bits and labels of every split (all copies of an image after one another), and their hashes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        unfinished = Path(beside) / "whole"
        unfinished.mkdir()
        for name in data.sizes:
            split: Any = getattr(data, name)
            factor = len(COPIES) if mode == "fashion_aug" and name == "train" else 1
            width = -(-BITS * int(np.prod(shape)) // 8)
            file = unfinished / f"{name}.npy"
            packed = np.lib.format.open_memmap(file, "w+", np.uint8, (factor * len(split), width))
            place = 0
            for batch in split.batches(AT_ONCE):
                images = _fitted(batch.inputs, shape)
                bits = boolean_features(_side_by_side(images) if factor > 1 else images).flatten(1).numpy()
                packed[place : place + len(bits)] = np.packbits(bits, axis=1)
                place += len(bits)
            packed.flush()
            np.save(unfinished / f"{name}-labels.npy", split.labels.repeat_interleave(factor).numpy())
        hashes = {file.name: sha256_of(file) for file in unfinished.iterdir()}
        write_json(unfinished / "manifest.json", hashes)
        if not folder.exists():  # else another process was first with the same bits
            os.replace(unfinished, folder)


def _side_by_side(images: Tensor) -> Tensor:
    """(B, C, H, W) to (copies x B, C, H, W), the copies of an image next to each other."""
    return torch.stack(copies(images), dim=1).flatten(0, 1)


def _fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    from torchvision.transforms.v2 import functional as change

    if shape[0] == 1 and images.shape[1] == 3:
        images = change.rgb_to_grayscale(images)
    if images.shape[-2:] != shape[1:]:
        images = torch.nn.functional.interpolate(images, shape[1:], mode="bilinear", antialias=True)
    return images.clamp(0, 1)
