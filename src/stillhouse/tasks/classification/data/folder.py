"""A folder of images, one folder a class, as torchvision's `ImageFolder` lays it out: decoded into memory, or when asked for.

    ROOT/train/CLASS/*.png, and where they are there ROOT/test/CLASS/*.png and ROOT/val (valid, validation)/CLASS/*.png
    ROOT/CLASS/*.png, from which a test split is taken
    ROOT/unlabelled (or ROOT/train/unlabelled) is no class: its images are trained on without one

Images may lie in sub-folders. Each is read once, whatever it is called; links are followed within ROOT, never out of it or back up.
`val` beside `test` is the validation split; `val` alone is the test split, as it is for ImageNet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.labels import FOLDERS as UNLABELLED
from stillhouse.core.labels import MISSING, require_labels
from stillhouse.core.walk import File, Identity, Passed, files_under, follow
from stillhouse.tasks.classification.data.decode import check_file, common_channels, common_size, look
from stillhouse.tasks.classification.data.leaks import Image, check_apart
from stillhouse.tasks.classification.data.streamed import Loaded, Rows, Streamed, by_threads

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}
VALIDATION_NAMES = ("validation", "valid", "val")


@dataclass(frozen=True, slots=True)
class Listing:
    """The image files of one split: class names sorted, files sorted within each class, and a label a file (-1: none)."""

    class_names: tuple[str, ...]
    files: tuple[File, ...]
    labels: tuple[int, ...]


def load_folder(root: Path, image_size: int | None, channels: int | None, *, stream: bool = False) -> Loaded:
    """The images under a root.

    Args:
        root: see above for the layout; hidden files and files that are no images are passed over.
        image_size: side in pixels; None keeps the size if all images have the same, else 64.
        channels: 1 or 3; None takes gray if the first image is gray.
        stream: decode each image when it is asked for, and keep nothing: for more images than memory or disk hold.

    Raises:
        InputError: no such layout, an empty class folder, splits with other classes, an image that cannot be read, one without
            a class, in two classes or in two splits.
    """
    if not root.is_dir():
        raise InputError(f"folder {root} (data.root): expected a folder of images, got {_what(root)}")
    try:
        return _load(root, image_size, channels, stream)
    except OSError as error:  # a folder that may not be read, a link to nothing, a file removed meanwhile
        raise InputError(f"folder {root}: cannot read {error.filename or root}: {error.strerror or error}") from None


def _load(root: Path, image_size: int | None, channels: int | None, stream: bool) -> Loaded:
    passed = Passed()
    places = _splits(root, passed)
    listings = {split: _list(place, root, split, passed) for split, place in places.items()}
    passed.warn(root)
    train = listings["train"]
    for split, listing in listings.items():
        _same_classes(places["train"], train.class_names, places[split], listing.class_names)
    name = root.resolve().name
    images_of = {
        split: [Image(file.path, file.size, file.identity) for file in listing.files]
        for split, listing in listings.items()
    }

    check_apart(images_of, same_names=stream)
    files = [file.path for listing in listings.values() for file in listing.files]
    shape = _shape(files, image_size, channels, stream)
    rows = {}
    for split, listing in listings.items():
        names = [f"{file.path.relative_to(root).as_posix()} {file.size}" for file in listing.files]
        behind = Streamed([file.path for file in listing.files], shape, names)
        images = behind if stream else behind.whole(f"decoding images ({split})")
        rows[split] = Rows(images, torch.tensor(listing.labels, dtype=torch.int64))
    return Loaded(name, train.class_names, rows["train"], rows.get("validation"), rows.get("test"))


def _shape(files: Sequence[Path], image_size: int | None, channels: int | None, stream: bool) -> tuple[int, int, int]:
    """(C, H, W) that all images are decoded to; of streamed ones only the first is looked at."""
    if stream and image_size is None:
        raise InputError("data: images that are streamed need one size for all; give data.image_size")
    if stream:
        files = files[:1]
    if image_size is not None and channels is not None:
        return channels, image_size, image_size
    looks = list(by_threads(look, files, "looking at images"))
    height, width = common_size(looks) if image_size is None else (image_size, image_size)
    return channels or common_channels(files, looks), height, width


def _splits(root: Path, passed: Passed) -> dict[str, Path]:
    """Where each split lies; `train` is the root itself where the root holds the classes."""
    names = ("train", "test", *VALIDATION_NAMES)
    # A class may be called "train" (beside "bus" and "car"): a split holds folders, a class holds images
    there = {name: root / name for name in names if (root / name).is_dir() and _holds_folders(root / name)}
    for place in there.values():
        _check_inside(place, root, passed)
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


def _list(place: Path, root: Path, split: str, passed: Passed) -> Listing:
    folders = _folders(place, root, passed)
    classes = [folder for folder in folders if folder.name.lower() not in UNLABELLED]
    found = {folder: _images(folder, root, passed) for folder in classes}
    beside = root.iterdir() if split == "train" and place != root else ()
    without = [folder for folder in (*folders, *beside) if folder.name.lower() in UNLABELLED and folder.is_dir()]
    some = [file for folder in without for file in _images(folder, root, passed)]
    if split != "train":
        _check_labelled(root, split, sum(map(len, found.values())), some)
    if not classes:
        raise InputError(f"folder {place}: expected a folder for every class with images in it, got no folders")
    for folder, files in found.items():
        if not files:
            more = f"; {passed}" if str(passed) else ""
            raise InputError(f"class folder {folder}: expected images ({', '.join(sorted(SUFFIXES))}), got none{more}")
    _check_one_class({**found, Path("unlabelled"): some})
    files = [file for own in (*found.values(), some) for file in own]
    for file in files:
        if file.identity is None:
            check_file(file.path)
    labels = [label for label, own in enumerate(found.values()) for _ in own]
    return Listing(tuple(folder.name for folder in classes), tuple(files), (*labels, *[MISSING] * len(some)))


def _check_labelled(root: Path, split: str, count: int, some: Sequence[File]) -> None:
    """Refuse images that lie in a folder for those without a class."""
    missing = np.arange(count + len(some)) >= count
    require_labels(
        missing, f"folder {root}", split, called=lambda row: some[row - count].path.relative_to(root).as_posix()
    )


def _check_one_class(found: Mapping[Path, Sequence[File]]) -> None:
    """Refuse an image that lies in two class folders by a link: it would be of both classes."""
    seen: dict[Identity, File] = {}
    for file in (file for files in found.values() for file in files):
        if file.identity is not None and (first := seen.setdefault(file.identity, file)) is not file:
            raise InputError(f"image {file.path} is the same file as {first.path}, of another class; keep one of them")


def _folders(place: Path, root: Path, passed: Passed) -> list[Path]:
    """The folders in a folder, but for links that lead back up."""
    found = sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [folder for folder in found if _check_inside(folder, root, passed)]


def _holds_folders(place: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in place.iterdir())


def _check_inside(folder: Path, root: Path, passed: Passed) -> bool:
    """Whether a folder may be gone into.

    Raises:
        InputError: a link to a folder outside the root: left out in silence, a class or a split would be missing.
    """
    before = len(passed.outside)
    inside = follow(folder, root, passed)
    if len(passed.outside) > before:
        raise InputError(
            f"folder {folder} is a link that leads out of {root}, and such links are not followed; copy what it leads to, or "
            "name a folder above both"
        )
    return inside


def _images(folder: Path, root: Path, passed: Passed) -> list[File]:
    """Also in sub-folders."""
    return files_under(folder, root, _is_image, passed)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _same_classes(first: Path, names: Sequence[str], second: Path, others: Sequence[str]) -> None:
    only = [(first, sorted(set(names) - set(others))), (second, sorted(set(others) - set(names)))]
    parts = [f"only in {place}: {', '.join(extra)}" for place, extra in only if extra]
    if parts:
        raise InputError(f"expected the same class folders in {first} and {second}, got {'; '.join(parts)}")


def _what(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"
