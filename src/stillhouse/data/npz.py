"""Your own arrays in an npz file: images, labels, and optionally test_images, test_labels, class_names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from stillhouse.checks import InputError
from stillhouse.data.sources import Loaded, Rows


def load_npz(file: Path) -> Loaded:
    """Read it without pickles.

    Raises:
        InputError: missing or truncated file, missing keys, object arrays.
    """
    if not file.is_file():
        raise InputError(f"data file {file} does not exist (--data-root)")
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{file} is not a readable npz file (pickled objects are refused): {error}") from None
    missing = [key for key in ("images", "labels") if key not in arrays]
    if missing or ("test_images" in arrays) != ("test_labels" in arrays):
        raise InputError(
            f"{file}: expected images and labels (and test_images with test_labels), got {', '.join(sorted(arrays))}"
        )
    test = Rows(arrays["test_images"], arrays["test_labels"]) if "test_images" in arrays else None
    names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else ()
    return Loaded(file.stem, names, Rows(arrays["images"], arrays["labels"]), test=test)
