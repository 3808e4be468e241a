"""Where labelled images come from: the digits of scikit-learn, torchvision's sets, arrays, and folders with one folder a class.

    ROOT/train/CLASS/*.png, and where they are there ROOT/test/CLASS/*.png and ROOT/val (valid, validation)/CLASS/*.png
    ROOT/CLASS/*.png, from which a test split is taken
    ROOT/unlabelled (or ROOT/train/unlabelled) is no class: its images are trained on without one

Images may lie in sub-folders (links to folders inside a class are not followed). `val` beside `test` is the validation split;
`val` alone is the test split, as it is for ImageNet.

Legend: N rows, C channels (1 or 3), H height, W width, K classes.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.hashes import sha256_of
from stillhouse.core.labels import FOLDERS as UNLABELLED
from stillhouse.core.labels import MISSING, missing_labels, require_labels, whole_numbers
from stillhouse.core.records import read_arrays
from stillhouse.tasks.classification.data.decode import SUFFIXES, header, images_under
from stillhouse.tasks.classification.data.images import ImageSplit, Loaded
from stillhouse.tasks.classification.data.streamed import Streamed, by_threads

CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}


def load_torchvision(name: str, root: Path, download: bool) -> Loaded:
    """Both splits of one of torchvision's sets; what lies under the root is not written to, so a read-only root will do.

    Args:
        name: a key of `CLASSES`.
        root: torchvision's root, the folder that holds `MNIST/` or `cifar-10-batches-py/`.
        download: fetch what is missing.

    Raises:
        InputError: missing and not to be downloaded (or the download failed), or damaged.
    """
    from torchvision import datasets

    kind = getattr(datasets, CLASSES[name])
    try:
        if name.startswith("cifar"):
            if download and not (root / kind.base_folder).is_dir():
                kind(root, download=True)
            return _cifar(name, root / kind.base_folder, kind)
        train, test = (kind(root, train=train, download=download) for train in (True, False))
    except Exception as error:  # URLError, a full disk, torn files: torchvision and pickle raise nearly anything
        raise InputError(
            f"{name}: expected the files of torchvision's {CLASSES[name]} in {root} (data.root): {str(error).splitlines()[0]}"
            f"{'' if download else '; downloading was switched off'}"
        ) from None
    # torchvision calls the digits "0 - zero"
    names = [str(digit) for digit in range(10)] if name == "mnist" else train.classes
    rows = [ImageSplit(split.data.unsqueeze(1), split.targets) for split in (train, test)]
    return Loaded(name, tuple(names), rows[0], test=rows[1])


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays, lists, numbers and words and nothing else: a CIFAR file from elsewhere cannot run code."""

    allowed: ClassVar = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "_frombuffer": np.empty(1).__reduce_ex__(5)[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only what makes a NumPy array."""
        if module.split(".")[0] == "numpy" and name in self.allowed:
            return self.allowed[name]
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")


def _cifar(name: str, folder: Path, kind: Any) -> Loaded:
    """The batch files; unlike torchvision also those that were written anew, and without `pickle.load`."""

    def read(file: str) -> Any:
        with (folder / file).open("rb") as opened:
            return _ArrayUnpickler(opened, encoding="latin1").load()

    splits = []
    for files in (kind.train_list, kind.test_list):
        batches = [read(file) for file, _ in files]
        pixels = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches])
        labels = [label for batch in batches for label in batch.get("labels") or batch["fine_labels"]]
        splits.append(ImageSplit(torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.tensor(labels)))
    names = read(kind.meta["filename"])[kind.meta["key"]]
    return Loaded(name, tuple(map(str, names)), splits[0], test=splits[1])


def load_digits() -> Loaded:
    """The UCI optical digits: (1797, 1, 8, 8) uint8, ten classes, no test split of their own.

    Example:
        >>> tuple(load_digits().train.images.shape)
        (1797, 1, 8, 8)

    Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI (the test part of it).
    """
    from sklearn import datasets

    found = datasets.load_digits()
    # The pixels count the dark dots of a 4x4 block, 0 to 16
    images = torch.from_numpy(np.rint(found.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(found.target.astype(np.int64))
    return Loaded("digits", tuple(str(name) for name in found.target_names), ImageSplit(images, labels))


# ------------------------------------------------------------------------------------------------ arrays

KEYS = ("images", "labels", "test_images", "test_labels", "validation_images", "validation_labels", "class_names")


def load_npz(path: Path) -> Loaded:
    """The arrays of a `.npz` file as a data set, named after the file.

    Raises:
        InputError: no such file, not a `.npz`, Python objects inside, an unknown or missing key, arrays of a wrong kind.
    """
    arrays = read_arrays(path)
    for key in arrays:
        if key not in KEYS:
            raise InputError(f"{path}: unknown array {key!r}; {nearest(key, KEYS)}")
    splits = {}
    for split, prefix in (("train", ""), ("validation", "validation_"), ("test", "test_")):
        pair = (arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels"))
        splits[split] = None if prefix and pair[0] is pair[1] is None else pair
    names = arrays.get("class_names")
    return loaded_arrays(path.stem, splits, None if names is None else names.tolist())


def loaded_arrays(name: str, splits: Mapping[str, tuple[Any, Any] | None], class_names: Sequence[Any] | None) -> Loaded:
    """Images and labels of NumPy or torch as a data set; memory is shared where no conversion is needed.

    Args:
        name: of the data set.
        splits: by `train`, `validation` and `test` images (N, H, W), (N, C, H, W) or (N, H, W, C), uint8 or floats in [0, 1], and
            labels (N), whole numbers from 0; -1, None or NaN where a training row has none.
        class_names: (K); None: the numbers as words, from 0 to the largest label.

    Raises:
        InputError: another shape or type, unequal lengths, labels that are missing.
    """
    found = {split: None if pair is None else _rows(*pair, split) for split, pair in splits.items()}
    train = found["train"]
    assert train is not None
    if class_names is None:
        highest = max(train.labels.tolist(), default=-1)
        if highest < 0 or highest >= max(2, len(train)):
            raise InputError(
                f"labels: expected class numbers from 0 without gaps, got up to {highest} in {len(train)} rows"
            )
        class_names = range(highest + 1)
    names = tuple(one.decode() if isinstance(one, bytes) else str(one) for one in class_names)
    return Loaded(name, names, train, found["validation"], found["test"])


def _rows(images: Any, labels: Any, split: str) -> ImageSplit:
    where = "" if split == "train" else f"{split}_"
    if images is None or labels is None:
        raise InputError(
            f"expected arrays {where}images and {where}labels, got {'one of them' if where else 'not both'}"
        )
    numbers = _numpy(labels)
    if numbers.ndim == 1:
        missing = missing_labels(numbers if isinstance(labels, Tensor) else labels)
        if where:
            require_labels(missing, f"{where}labels", split)
        elif missing.any():
            numbers = whole_numbers(numbers, missing)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InputError(
            f"{where}labels: expected whole numbers of shape (N,), got {numbers.dtype} of shape {numbers.shape}"
        )
    pixels = _channels_first(_numpy(images), f"{where}images")
    if len(numbers) != len(pixels):
        raise InputError(f"{where}labels: expected one a row of {where}images ({len(pixels)}), got {len(numbers)}")
    return ImageSplit(pixels, torch.from_numpy(np.require(numbers, np.int64, ["C", "W"])))


def _numpy(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _channels_first(pixels: np.ndarray, name: str) -> Tensor:
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        raise InputError(f"{name}: expected uint8 (0 to 255) or floats in [0, 1], got {pixels.dtype}")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim != 4 or (pixels.shape[1] in (1, 3)) == (pixels.shape[3] in (1, 3)):
        raise InputError(
            f"{name}: expected (N, H, W), or 1 or 3 channels at one end of (N, C, H, W) or (N, H, W, C), got {pixels.shape}"
        )
    elif pixels.shape[3] in (1, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    kind = np.uint8 if pixels.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.require(pixels, kind, ["C", "W"]))


# ------------------------------------------------------------------------------------------------ folders

VALIDATION_NAMES = ("validation", "valid", "val")
DEFAULT_SIDE = 64


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
    for split, files in splits.items():
        for file in files:
            if not file.is_file():  # a link to nothing, a named pipe
                raise InputError(f"image {file}: expected a file; remove it")
            groups.setdefault((file.stat().st_size, file.name if same_names else ""), []).append((split, file))
    for group in groups.values():
        seen: dict[str, tuple[str, Path]] = {}
        for split, file in group if len({split for split, _ in group}) > 1 else ():
            other, first = seen.setdefault(sha256_of(file), (split, file))
            if other != split:
                raise InputError(
                    f"image {file} of the {split} split is also in the {other} split, as {first}: take one out"
                )


def _splits(root: Path) -> dict[str, Path]:
    """Where each split lies; `train` is the root itself where the root holds the classes."""
    # A class may be called "train" (beside "bus" and "car"): a split holds folders, a class holds images
    there = {name: root / name for name in ("train", "test", *VALIDATION_NAMES) if _folders(root / name)}
    validation = [there.pop(name) for name in VALIDATION_NAMES if name in there]
    if len(validation) > 1 or ("train" not in there and (there or validation)):
        got = ", ".join(path.name for path in (*there.values(), *validation))
        raise InputError(
            f"folder {root}: expected train/, and beside it test/, one validation folder or none, got {got}"
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


def _listing(place: Path, root: Path, names: Sequence[str], split: str) -> list[tuple[Path, int]]:
    """The images of a split and the numbers of their classes, class by class, then those without a class."""
    if not names or _classes(place) != names:
        got = ", ".join(_classes(place)) or "no folders"
        raise InputError(f"folder {place}: expected a folder for every class ({', '.join(names)}), got {got}")
    found = []
    for label, name in enumerate(names):
        files = images_under(place / name)
        if not files:
            raise InputError(f"class folder {place / name}: expected images ({', '.join(sorted(SUFFIXES))})")
        found += [(file, label) for file in files]
    above = dict.fromkeys([place, root] if split == "train" else [place])
    without = [folder for one in above for folder in _folders(one) if folder.name.lower() in UNLABELLED]
    files = [file for folder in without for file in images_under(folder)]
    require_labels(np.full(len(files) if split != "train" else 0, True), f"folder {place}", split)
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
