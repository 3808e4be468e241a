"""From the arrays that people have to the tensors that we use, and what is refused on the way.

Legend: N rows, C channels (1 or 3), H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import missing_labels, require_labels, whole_numbers
from stillhouse.tasks.classification.data.images import ImageSplit, Loaded

KEYS = ("images", "labels", "test_images", "test_labels", "validation_images", "validation_labels", "class_names")


def load_npz(path: Path) -> Loaded:
    """The arrays of a `.npz` file as a data set, named after the file.

    Raises:
        InputError: no such file, not a `.npz`, Python objects inside, an unknown or missing key, arrays of a wrong kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # OSError, ValueError, zlib.error, BadZipFile, AttributeError of a bare .npy and more
        raise InputError(f"{path}: expected a .npz file of plain arrays (numpy.savez writes one): {error}") from None
    for key in arrays:
        if key not in KEYS:
            raise InputError(f"{path}: unknown array {key!r}; {nearest(key, KEYS)}")
    splits = {}
    for split, prefix in (("train", ""), ("validation", "validation_"), ("test", "test_")):
        pair = [arrays.get(f"{prefix}{key}") for key in ("images", "labels")]
        splits[split] = None if prefix and pair[0] is None and pair[1] is None else (pair[0], pair[1])
    names = arrays.get("class_names")
    try:
        return loaded_arrays(path.stem, splits, None if names is None else names.tolist())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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
