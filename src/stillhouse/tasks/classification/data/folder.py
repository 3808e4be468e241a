"""A folder of images, one folder a class, as torchvision's `ImageFolder` lays it out: decoded into memory, or when asked for.

    ROOT/train/CLASS/*.png, and where they are there ROOT/test/CLASS/*.png and ROOT/val (valid, validation)/CLASS/*.png
    ROOT/CLASS/*.png, from which a test split is taken
    ROOT/unlabelled (or ROOT/train/unlabelled) is no class: its images are trained on without one

Images may lie in sub-folders (links to folders inside a class are not followed). `val` beside `test` is the validation split;
`val` alone is the test split, as it is for ImageNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.labels import FOLDERS as UNLABELLED
from stillhouse.core.labels import MISSING
from stillhouse.tasks.classification.data.decode import SUFFIXES, header, images_under
from stillhouse.tasks.classification.data.images import ImageSplit, Loaded
from stillhouse.tasks.classification.data.streamed import Streamed, by_threads

VALIDATION_NAMES = ("validation", "valid", "val")
DEFAULT_SIDE = 64

Listing = list[tuple[Path, int]]  # files, and the number of the class of each


def load_folder(root: Path, image_size: int | None, channels: int | None, *, stream: bool = False) -> Loaded:
    """The images under a root.

    Args:
        root: see above for the layout; hidden files and files that are no images are passed over.
        image_size: side in pixels; None keeps the size if all images have the same, else 64.
        channels: 1 or 3; None takes gray if all images are gray.
        stream: decode each image when it is asked for, and keep nothing: for more images than memory or disk hold.

    Raises:
        InputError: no such layout, an empty class folder, splits with other classes, an image that cannot be read, one without
            a class, or one in two splits.
    """
    if not root.is_dir():
        raise InputError(f"folder {root} (data.root): expected a folder of images, got none there")
    places = _splits(root)
    names = _classes(places["train"])
    listings = {split: _listing(place, root, names, split) for split, place in places.items()}
    check_apart({split: [file for file, _ in found] for split, found in listings.items()}, same_names=stream)
    shape = _shape([file for found in listings.values() for file, _ in found], image_size, channels, stream)
    splits = {}
    for split, found in listings.items():
        files = [file for file, _ in found]
        named = [f"{file.relative_to(root).as_posix()} {file.stat().st_size}" for file in files]
        behind = Streamed(files, shape, named)
        images = behind if stream else behind.whole(f"decoding images ({split})")
        splits[split] = ImageSplit(images, torch.tensor([label for _, label in found]))
    return Loaded(root.resolve().name, tuple(names), splits["train"], splits.get("validation"), splits.get("test"))


def check_apart(splits: Mapping[str, Sequence[Path]], *, same_names: bool = False) -> None:
    """Refuse an image that is in two splits: a student would be tested on what it was trained on.

    Args:
        splits: the files of each; bytes are compared of those of equal size.
        same_names: only of those that are also called alike, where reading all of equal size would take hours.
    """
    groups: dict[tuple[int, str], list[tuple[str, Path]]] = {}
    for split, files in splits.items() if len(splits) > 1 else ():
        for file in files:
            groups.setdefault((_size(file), file.name if same_names else ""), []).append((split, file))
    for group in groups.values():
        seen: dict[str, tuple[str, Path]] = {}
        for split, file in group if len({split for split, _ in group}) > 1 else ():
            other, first = seen.setdefault(sha256_of(file), (split, file))
            if other != split:
                raise InputError(
                    f"image {file} of the {split} split is also in the {other} split, as {first}: each image belongs to one "
                    "split; take it out of the others"
                )


def _size(file: Path) -> int:
    if not file.is_file():  # a link to nothing, a named pipe
        raise InputError(f"image {file}: expected a file; remove it")
    return file.stat().st_size


def _splits(root: Path) -> dict[str, Path]:
    """Where each split lies; `train` is the root itself where the root holds the classes."""
    # A class may be called "train" (beside "bus" and "car"): a split holds folders, a class holds images
    there = {name: root / name for name in ("train", "test", *VALIDATION_NAMES) if _folders(root / name)}
    validation = [there.pop(name) for name in VALIDATION_NAMES if name in there]
    if len(validation) > 1 or ("train" not in there and (there or validation)):
        raise InputError(
            f"folder {root}: expected train/, and beside it test/, one validation folder or none, got "
            f"{', '.join(path.name for path in (*there.values(), *validation))}"
        )
    if "train" not in there:
        return {"train": root}
    return {**there, **{"validation" if "test" in there else "test": place for place in validation}}


def _folders(place: Path) -> list[Path]:
    """The folders in a folder, by name; no link that leads back up."""
    inside = [path for path in place.iterdir() if path.is_dir() and path.name[0] != "."] if place.is_dir() else []
    return sorted(path for path in inside if not place.resolve().is_relative_to(path.resolve()))


def _classes(place: Path) -> list[str]:
    return [folder.name for folder in _folders(place) if folder.name.lower() not in UNLABELLED]


def _listing(place: Path, root: Path, names: Sequence[str], split: str) -> Listing:
    """The images of a split, class by class, then those without a class."""
    own = _classes(place)
    if own != names or not names:
        raise InputError(
            f"folder {place}: expected a folder for every class with images in it"
            + (f" ({', '.join(names)})" if names else "")
            + f", got {', '.join(own) or 'no folders'}"
        )
    found = [(file, label) for label, name in enumerate(names) for file in images_under(place / name)]
    if empty := set(range(len(names))) - {label for _, label in found}:
        raise InputError(f"class folder {place / names[min(empty)]}: expected images ({', '.join(sorted(SUFFIXES))})")
    above = dict.fromkeys([place, root] if split == "train" else [place])
    without = [folder for one in above for folder in _folders(one) if folder.name.lower() in UNLABELLED]
    files = [file for folder in without for file in images_under(folder)]
    if split != "train" and files:
        raise InputError(
            f"folder {root}: no label in {len(files):,} images (first: {files[0].relative_to(root).as_posix()}); each {split} "
            "row needs one: label them, or take them out"
        )
    return [*found, *((file, MISSING) for file in files)]


def _shape(files: Sequence[Path], image_size: int | None, channels: int | None, stream: bool) -> tuple[int, int, int]:
    """(C, H, W) that all images are decoded to; of streamed ones none is looked at."""
    if stream and image_size is None:
        raise InputError("data: images that are streamed need one size for all; give data.image_size")
    if image_size is None or (channels is None and not stream):
        seen = list(by_threads(header, files, "looking at images"))
        sizes = {size for size, _ in seen}
        height, width = sizes.pop() if len(sizes) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)
        channels = channels or (1 if all(gray for _, gray in seen) else 3)
        return channels, image_size or height, image_size or width
    return channels or 3, image_size, image_size
