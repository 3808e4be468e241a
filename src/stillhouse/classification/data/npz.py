"""Arrays in a `.npz` file, read without pickles.

Keys: `images` and `labels`; where they are there `test_images` with `test_labels`, `validation_images` with
`validation_labels`, and `class_names`. What the arrays may be: see `rows_from_arrays`.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from stillhouse.classification.data.arrays import infer_class_names, optional_rows, rows_from_arrays
from stillhouse.classification.data.sources import Loaded
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.labels import missing_labels, require_labels

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
    for key in ("labels", "validation_labels", "test_labels"):
        if key in arrays and arrays[key].ndim == 1:
            require_labels(
                missing_labels(arrays[key]), f"{path}: {key}", key.removesuffix("labels").rstrip("_") or "train"
            )
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
