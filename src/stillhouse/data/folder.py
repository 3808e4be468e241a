"""A folder of images, one sub-folder a class; decoded once into a cache of raw pixels, with a progress bar.

Layouts: ROOT/train/CLASS/*.png with ROOT/test (or val, validation)/CLASS/*.png, or ROOT/CLASS/*.png alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.checks import InputError
from stillhouse.data.sources import Loaded, Rows
from stillhouse.records import read_json, write_json

DEFAULT_SIDE = 64


def load_folder(top: Path, image_size: int | None, channels: int | None) -> Loaded:
    """Read both splits (or the one there is) through torchvision's ImageFolder.

    Raises:
        InputError: no folder, no classes, a class without images, classes that differ, an image that cannot be read.
    """
    if not top.is_dir():
        raise InputError(f"data folder {top} does not exist (--data-root)")
    train = _index(top / "train" if (top / "train").is_dir() else top)
    held = next(
        (top / n for n in ("test", "val", "validation") if (top / "train").is_dir() and (top / n).is_dir()), None
    )
    test = None if held is None else _index(held)
    if test is not None and test.classes != train.classes:
        differ = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(
            f"{top}: expected the same class folders in train and {held.name}, these differ: {', '.join(differ[:10])}"
        )  # type: ignore[union-attr]
    side, colours = image_size, channels
    if side is None or colours is None:
        size, mode = _look(train.samples[0][0])
        side = side or (size[0] if size[0] == size[1] and size[0] <= DEFAULT_SIDE else DEFAULT_SIDE)
        colours = colours or (1 if mode in {"1", "L", "I", "I;16"} else 3)
    splits = [
        Rows(_decoded(found, side, colours), torch.tensor(found.targets))
        for found in (train, test)
        if found is not None
    ]
    return Loaded(top.name, tuple(train.classes), splits[0], test=splits[1] if len(splits) > 1 else None)


def _index(folder: Path) -> Any:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: {error}") from None


def _look(path: str) -> tuple[tuple[int, int], str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"image {path} cannot be read: {error}") from None


def _decoded(found: Any, side: int, channels: int) -> Tensor:
    """(N, C, side, side) uint8, memory-mapped from the cache; built under a temporary name, then renamed."""
    key = hashlib.sha256(f"{side} {channels}".encode())
    for path, _ in found.samples:
        status = os.stat(path)
        key.update(f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}".encode())
    cache = Path(os.environ.get("STILLHOUSE_CACHE") or Path.home() / ".cache" / "stillhouse") / "folders"
    folder = cache / key.hexdigest()[:24]
    shape = [len(found.samples), channels, side, side]
    if not (folder / "manifest.json").is_file() or read_json(folder / "manifest.json")["shape"] != shape:
        _decode(found.samples, shape, cache, folder)
    return torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c"))


def _decode(samples: list[tuple[str, int]], shape: list[int], cache: Path, folder: Path) -> None:
    from PIL import Image, UnidentifiedImageError
    from rich.progress import track

    try:
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=cache, prefix=".building-"))
    except OSError as error:
        raise InputError(f"cannot write the image cache {cache}: {error.strerror} (set STILLHOUSE_CACHE)") from None
    try:
        images = np.lib.format.open_memmap(building / "images.npy", mode="w+", dtype=np.uint8, shape=tuple(shape))
        for row, (path, _) in enumerate(track(samples, description="decoding images", transient=True)):
            try:
                with Image.open(path) as image:
                    small = image.convert("L" if shape[1] == 1 else "RGB").resize(
                        (shape[3], shape[2]), Image.Resampling.BILINEAR
                    )
            except (UnidentifiedImageError, OSError) as error:
                raise InputError(f"image {path} cannot be read: {error}") from None
            images[row] = np.asarray(small).reshape(shape[2], shape[3], shape[1]).transpose(2, 0, 1)
        images.flush()
        del images
        write_json(building / "manifest.json", {"shape": shape})
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
    except OSError as error:
        raise InputError(f"cannot write the image cache {cache}: {error.strerror}") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
