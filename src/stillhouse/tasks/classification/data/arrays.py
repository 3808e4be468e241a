"""From the arrays that people have to the tensors that we use, and what is refused on the way.

Legend: N rows, C channels (1 or 3), H height, W width, K classes.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import MISSING, missing_labels, require_labels, whole_numbers
from stillhouse.tasks.classification.data.streamed import Loaded, Rows, Streamed

CHUNK = 1024


def rows_from_arrays(images: Any, labels: Any, where: str = "") -> Rows:
    """Images and labels of NumPy or torch as checked tensors; memory is shared where no conversion is needed.

    Args:
        images: (N, H, W), (N, C, H, W) or (N, H, W, C); uint8, or floats in [0, 1].
        labels: (N) whole numbers from 0; -1, None or NaN where a training row has none.
        where: goes before the array's name in messages (`test_`).

    Raises:
        InputError: another shape or type, unequal lengths, labels that are missing; see also `check_pixels`.
    """
    pixels, numbers = _numpy(images), _numpy(labels)
    if pixels.size == 0:
        raise InputError(f"{where}images: expected at least one image, got an array of shape {pixels.shape}")
    tensor = _channels_first(_pixels(pixels, f"{where}images"), f"{where}images")
    if numbers.ndim == 1:
        missing = missing_labels(numbers if isinstance(labels, Tensor) else labels)
        if where:
            require_labels(missing, f"{where}labels", where.rstrip("_"))
        elif missing.any():
            numbers = whole_numbers(numbers, missing)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InputError(
            f"{where}labels: expected whole numbers of shape (N,), got {numbers.dtype} of shape {numbers.shape}"
        )
    if len(numbers) != len(tensor):
        raise InputError(f"{where}labels: expected one a row of {where}images ({len(tensor)}), got {len(numbers)}")
    return Rows(tensor, torch.from_numpy(np.require(numbers, np.int64, ["C", "W"])))


def optional_rows(images: Any, labels: Any, where: str) -> Rows | None:
    """`rows_from_arrays`, or None where neither array is given.

    Raises:
        InputError: one without the other.
    """
    if (images is None) != (labels is None):
        given, missing = ("labels", "images") if images is None else ("images", "labels")
        raise InputError(
            f"expected {where}images and {where}labels or neither, got {where}{given} without {where}{missing}"
        )
    return None if images is None else rows_from_arrays(images, labels, where)


def infer_class_names(labels: Tensor) -> tuple[str, ...]:
    """The class numbers as words, from 0 to the largest label.

    Example:
        >>> infer_class_names(torch.tensor([0, 2, 1]))
        ('0', '1', '2')
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if highest == MISSING:
        raise InputError(f"labels: expected a label in some of {len(labels):,} rows, got none")
    if lowest < MISSING:
        raise InputError(f"labels: expected class numbers from 0, got {lowest} in row {int(labels.argmin())}")
    if highest >= max(2, len(labels)):
        raise InputError(f"labels: expected class numbers from 0 without gaps, got {highest} with {len(labels)} rows")
    return tuple(str(number) for number in range(highest + 1))


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise unless there are two classes or more and no two of one name."""
    if len(class_names) < 2:
        raise InputError(f"expected at least 2 classes, got {len(class_names)}: {', '.join(class_names) or 'none'}")
    twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
    if twice:
        raise InputError(f"class_names: expected every name once, got {twice[0]!r} more than once")


def check_rows(split: str, rows: Rows, num_classes: int) -> None:
    """Raise unless a split has rows, pixels that are numbers in [0, 1] (or uint8) and labels in 0..K-1, or -1 for training.

    Args:
        split: its name, for the message.
        rows: images (N, C, H, W), labels (N).
        num_classes: K.

    Raises:
        InputError: with how many are wrong and the first row that is.
    """
    if rows.images.numel() == 0:
        raise InputError(f"{split} split: expected images, got none (shape {tuple(rows.images.shape)})")
    check_pixels(split, rows.images)
    least = MISSING if split == "training" else 0
    wrong = (rows.labels < least) | (rows.labels >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise InputError(
            f"{split} split: expected labels from 0 to {num_classes - 1} ({num_classes} classes), got {int(rows.labels[first])} "
            f"in row {first} ({int(wrong.sum())} rows out of range)"
        )


def check_pixels(split: str, images: Tensor | Streamed) -> None:
    """Raise unless every pixel of (N, C, H, W) floats is finite and in [0, 1]; uint8 is always right."""
    if isinstance(images, Streamed) or images.dtype == torch.uint8:
        return
    for fault, expected in ((_not_finite, "finite pixels"), (_outside, "pixels in [0, 1]")):
        count, first, value = 0, -1, 0.0
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            wrong = fault(chunk)
            if first < 0 and bool(wrong.any()):
                first = start + int(wrong.flatten(1).any(1).nonzero()[0])
                value = float(chunk[wrong][0])
            count += int(wrong.sum())
        if count:
            hint = "; give uint8, or divide by 255" if expected.startswith("pixels") and value > 1 else ""
            raise InputError(
                f"{split} split: expected {expected}, got {count} others, first {value:g} in row {first}{hint}"
            )


def _not_finite(chunk: Tensor) -> Tensor:
    return ~torch.isfinite(chunk)


def _outside(chunk: Tensor) -> Tensor:
    return (chunk < 0) | (chunk > 1)


def _numpy(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _pixels(pixels: np.ndarray, name: str) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.require(pixels, requirements=["C", "W"])
    if pixels.dtype.kind == "f":
        return np.require(pixels, np.float32, ["C", "W"])
    raise InputError(f"{name}: expected uint8 (0 to 255) or floats in [0, 1], got {pixels.dtype}")


def _channels_first(pixels: np.ndarray, name: str) -> Tensor:
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim != 4:
        raise InputError(f"{name}: expected (N, H, W), (N, C, H, W) or (N, H, W, C), got shape {pixels.shape}")
    else:
        first, last = pixels.shape[1] in (1, 3), pixels.shape[3] in (1, 3)
        if first and last:
            raise InputError(
                f"{name}: shape {pixels.shape} can be read as (N, C, H, W) and as (N, H, W, C); "
                f"expected 1 or 3 at one end only, so give (N, H, W) or transpose it"
            )
        if not first and not last:
            raise InputError(
                f"{name}: expected 1 or 3 channels, in (N, C, H, W) or (N, H, W, C), got shape {pixels.shape}"
            )
        if last:
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels)


KEYS = ("images", "labels", "test_images", "test_labels", "validation_images", "validation_labels", "class_names")


def load_npz(path: Path) -> Loaded:
    """The arrays of a `.npz` file as a data set, named after the file.

    Raises:
        InputError: no such file, not a `.npz`, Python objects inside, an unknown or missing key, arrays of a wrong kind.
    """
    arrays = _read(path)
    for key in arrays:
        if key not in KEYS:
            raise InputError(f"{path}: unknown array {key!r}; {nearest(key, KEYS)}")
    for key in ("images", "labels"):
        if key not in arrays:
            raise InputError(f"{path}: expected an array {key!r}, got {', '.join(sorted(arrays)) or 'no arrays'}")
    for split in ("validation", "test"):
        key = f"{split}_labels"
        if key in arrays and arrays[key].ndim == 1:
            require_labels(missing_labels(arrays[key]), f"{path}: {key}", split)
    train = rows_from_arrays(arrays["images"], arrays["labels"])
    test = optional_rows(arrays.get("test_images"), arrays.get("test_labels"), "test_")
    validation = optional_rows(arrays.get("validation_images"), arrays.get("validation_labels"), "validation_")
    names = _class_names(path, arrays["class_names"]) if "class_names" in arrays else infer_class_names(train.labels)
    return Loaded(path.stem, names, train, validation, test)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} (data.root): expected a .npz file, got nothing there") from None
    except MemoryError as error:
        raise InputError(f"{path}: not so much memory is there: {error}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        # AttributeError, TypeError: a bare .npy array has neither `files` nor `with`
        reason = str(error) or type(error).__name__
        if "pickle" in reason:  # what NumPy says of any file that is neither .npz nor .npy
            reason = "it holds Python objects" if zipfile.is_zipfile(path) else "it is no .npz (numpy.savez writes one)"
        raise InputError(
            f"{path}: expected a .npz file with plain arrays, got one that cannot be read: {reason}"
        ) from None


def _class_names(path: Path, names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(f"{path}: class_names: expected (K,) strings, got {names.dtype} of shape {names.shape}")
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist())
