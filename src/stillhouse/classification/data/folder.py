"""A folder of images, one folder a class, as torchvision's `ImageFolder` lays it out; decoded once into a cache.

    ROOT/train/CLASS/*.png, and where they are there ROOT/test/CLASS/*.png and ROOT/val (valid, validation)/CLASS/*.png
    ROOT/CLASS/*.png, from which a test split is taken

`val` beside `test` is the validation split; `val` alone is the test split, as it is for ImageNet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stillhouse.classification.data.decode import check_file, look
from stillhouse.classification.data.folder_cache import decoded
from stillhouse.classification.data.sources import Loaded, Rows
from stillhouse.classification.data.streamed import Part, Streamed
from stillhouse.core.checks import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}
VALIDATION_NAMES = ("validation", "valid", "val")


@dataclass(frozen=True, slots=True)
class Listing:
    """The image files of one split: class names sorted, files sorted within each class, and a label a file."""

    class_names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]


def load_folder(root: Path, image_size: int | None, channels: int | None, *, stream: bool = False) -> Loaded:
    """The images under a root, from the cache if nothing changed since they were decoded.

    Args:
        root: see above for the layout; hidden files and files that are no images are passed over.
        image_size: side in pixels; None keeps the size if all images have the same, else 64.
        channels: 1 or 3; None takes gray if the first image is gray.
        stream: decode each image when it is asked for, and keep nothing: for more images than memory or disk hold.

    Raises:
        InputError: no such layout, an empty class folder, splits with other classes, an image that cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"folder {root} (--data-root): expected a folder of images, got {_what(root)}")
    try:
        return _load(root, image_size, channels, stream)
    except OSError as error:  # a folder that may not be read, a link to nothing, a file removed meanwhile
        raise InputError(f"folder {root}: cannot read {error.filename or root}: {error.strerror or error}") from None


def _load(root: Path, image_size: int | None, channels: int | None, stream: bool) -> Loaded:
    places = _splits(root)
    listings = {split: _list(place) for split, place in places.items()}
    train = listings["train"]
    for split, listing in listings.items():
        _same_classes(places["train"], train.class_names, places[split], listing.class_names)

    if stream:
        behind = {split: _streamed(root, listing, image_size, channels) for split, listing in listings.items()}
        name = root.resolve().name
        return Loaded(name, train.class_names, behind["train"], behind.get("validation"), behind.get("test"))
    files = [file for listing in listings.values() for file in listing.files]
    images = decoded(root, files, image_size, channels)
    rows, start = {}, 0
    for split, listing in listings.items():
        stop = start + len(listing.files)
        rows[split] = Rows(images[start:stop], torch.tensor(listing.labels, dtype=torch.int64))
        start = stop
    return Loaded(root.resolve().name, train.class_names, rows["train"], rows.get("validation"), rows.get("test"))


def _streamed(root: Path, listing: Listing, image_size: int | None, channels: int | None) -> Rows:
    if image_size is None:
        raise InputError("data: images that are streamed need one size for all; give image_size (--data-image-size)")
    shape = (channels or (1 if look(listing.files[0]).gray else 3), image_size, image_size)
    names = [f"{file.relative_to(root).as_posix()} {file.stat().st_size}" for file in listing.files]
    parts = [Part(file) for file in listing.files]
    return Rows(Streamed(parts, shape, names), torch.tensor(listing.labels, dtype=torch.int64))


def _splits(root: Path) -> dict[str, Path]:
    """Where each split lies; `train` is the root itself where the root holds the classes."""
    names = ("train", "test", *VALIDATION_NAMES)
    # A class may be called "train" (beside "bus" and "car"): a split holds folders, a class holds images
    there = {name: root / name for name in names if (root / name).is_dir() and _folders(root / name)}
    if "train" not in there:
        if there:
            raise InputError(f"folder {root}: expected train/ beside {'/, '.join(there)}/, got none")
        return {"train": root}
    validation = [there[name] for name in VALIDATION_NAMES if name in there]
    if len(validation) > 1:
        raise InputError(
            f"folder {root}: expected one validation folder, got {' and '.join(p.name for p in validation)}"
        )
    splits = {"train": there["train"]}
    if "test" in there:
        splits["test"] = there["test"]
    if validation:
        splits["validation" if "test" in there else "test"] = validation[0]
    return splits


def _list(place: Path) -> Listing:
    classes = _folders(place)
    if not classes:
        raise InputError(f"folder {place}: expected a folder for every class with images in it, got no folders")
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(classes):
        found = _images(folder)
        if not found:
            raise InputError(f"class folder {folder}: expected images ({', '.join(sorted(SUFFIXES))}), got none")
        for file in found:
            check_file(file)
        files += found
        labels += [label] * len(found)
    return Listing(tuple(folder.name for folder in classes), tuple(files), tuple(labels))


def _folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """Also in sub-folders and through links, as torchvision's `ImageFolder` does."""
    found = (Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _same_classes(first: Path, names: Sequence[str], second: Path, others: Sequence[str]) -> None:
    only = [(first, sorted(set(names) - set(others))), (second, sorted(set(others) - set(names)))]
    parts = [f"only in {place}: {', '.join(extra)}" for place, extra in only if extra]
    if parts:
        raise InputError(f"expected the same class folders in {first} and {second}, got {'; '.join(parts)}")


def _what(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"
