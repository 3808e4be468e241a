"""What is refused, and in which words."""

import numpy as np
import pytest
import torch
from numbered_images import numbered

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data import ImageData

LABELS = np.arange(40) % 2
FLOATS = np.full((40, 4, 4), 0.5, np.float32)
BYTES = np.zeros((40, 4, 4), np.uint8)


def spoiled(value, rows=(11, 12)):
    images = FLOATS.copy()
    images[list(rows), 1, 2] = value
    return images


def relabelled(row, label):
    labels = LABELS.copy()
    labels[row] = label
    return labels


CASES = {
    "nan": (spoiled(np.nan), LABELS, "expected finite pixels, got 2 others, first nan in row 11"),
    "inf": (spoiled(np.inf), LABELS, "expected finite pixels, got 2 others, first inf in row 11"),
    "above": (
        spoiled(200),
        LABELS,
        r"pixels in \[0, 1\], got 2 others, first 200 in row 11; give uint8, or divide by 255",
    ),
    "below": (spoiled(-0.5), LABELS, r"pixels in \[0, 1\], got 2 others, first -0.5 in row 11$"),
    "int64": (BYTES.astype(np.int64), LABELS, r"images: expected uint8 \(0 to 255\) or floats in \[0, 1\], got int64"),
    "bool": (BYTES.astype(bool), LABELS, "got bool"),
    "flat": (BYTES.reshape(40, 16), LABELS, r"expected \(N, H, W\), .* got shape \(40, 16\)"),
    "four channels": (np.zeros((40, 8, 8, 4), np.uint8), LABELS, r"1 or 3 channels, .* got shape \(40, 8, 8, 4\)"),
    "ambiguous": (np.zeros((40, 3, 8, 3), np.uint8), LABELS, r"shape \(40, 3, 8, 3\) can be read as"),
    "ambiguous gray": (np.zeros((40, 1, 8, 1), np.uint8), LABELS, r"can be read as .* give \(N, H, W\)"),
    "empty": (BYTES[:0], LABELS[:0], r"images: expected at least one image, got an array of shape \(0, 4, 4\)"),
    "no pixels": (np.zeros((40, 0, 4), np.uint8), LABELS, "expected at least one image"),
    "fewer labels": (BYTES, LABELS[:39], r"labels: expected one a row of images \(40\), got 39"),
    "one-hot": (
        BYTES,
        np.eye(2, dtype=int)[LABELS],
        r"labels: expected whole numbers of shape \(N,\), got int64 of shape",
    ),
    "float labels": (BYTES, LABELS.astype(float), "expected whole numbers .*, got float64"),
    "words": (BYTES, np.array(["cat", "dog"])[LABELS], "expected whole numbers .*, got <U3"),
    "negative": (BYTES, relabelled(7, -2), "labels: expected class numbers from 0, got -2 in row 7"),
    "gap": (BYTES, LABELS * 2, "class '1' has no training images: expected at least one for each of 3 classes"),
    "wide gap": (BYTES, LABELS * 10**9, "without gaps, got 1000000000 with 40 rows"),
    "single class": (BYTES, LABELS * 0, "expected at least 2 classes, got 1: 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_arrays_are_refused(case):
    """Each of these trains without an error elsewhere, or dies in a place that says nothing."""
    images, labels, message = CASES[case]
    with pytest.raises(InputError, match=message):
        ImageData.from_arrays(images, labels)


def test_bad_rows_far_into_a_large_array_are_found_and_counted():
    """The check goes through the rows in parts: the row number must count from the start."""
    images = np.zeros((3000, 2, 2), np.float32)
    images[2500, 0, 0] = images[2999] = 2
    with pytest.raises(InputError, match=r"got 5 others, first 2 in row 2500"):
        ImageData.from_arrays(images, np.arange(3000) % 2)


def test_a_class_without_training_images_is_named_also_if_the_test_split_has_it():
    """Such a class can only be guessed, and its test accuracy drags the score down unseen."""
    test = BYTES[:4], np.array([0, 1, 2, 2])
    with pytest.raises(InputError, match="class 'c' has no training images"):
        ImageData.from_arrays(BYTES, LABELS, class_names=["a", "b", "c"], test=test)
    with pytest.raises(InputError, match=r"test split: expected labels from 0 to 1"):
        ImageData.from_arrays(BYTES, LABELS, test=test)


def test_good_arrays_at_the_borders_are_taken():
    """0 and 1 themselves are pixels; a tensor that requires gradients is an array like any other."""
    images, labels = numbered([20, 20])
    images[:, 2, 2], images[:, 3, 3] = 0, 255
    floats = torch.from_numpy(images / 255).requires_grad_()
    data = ImageData.from_arrays(floats, torch.from_numpy(labels))
    assert (float(data.train.images.max()), data.train.images.requires_grad) == (1.0, False)
    with pytest.raises(InputError, match="batch size: expected at least 1, got 0"):
        list(data.test.batches(0))
