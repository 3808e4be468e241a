"""What is refused, and in which words."""

import numpy as np
import pytest
import torch
from numbered_images import numbered

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.images import ImageData

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
    "nan": (spoiled(np.nan), LABELS, "expected finite pixels"),
    "inf": (spoiled(np.inf), LABELS, "expected finite pixels .* to inf"),
    "above": (spoiled(200), LABELS, r"pixels in \[0, 1\], got 0.5 to 200; give uint8, or divide by 255"),
    "below": (spoiled(-0.5), LABELS, r"pixels in \[0, 1\], got -0.5 to 0.5"),
    "int64": (BYTES.astype(np.int64), LABELS, r"images: expected uint8 \(0 to 255\) or floats in \[0, 1\], got int64"),
    "bool": (BYTES.astype(bool), LABELS, "got bool"),
    "flat": (BYTES.reshape(40, 16), LABELS, r"expected \(N, H, W\), .* got \(40, 16\)"),
    "four channels": (np.zeros((40, 8, 8, 4), np.uint8), LABELS, r"1 or 3 channels .* got \(40, 8, 8, 4\)"),
    "ambiguous": (np.zeros((40, 3, 8, 3), np.uint8), LABELS, r"1 or 3 channels at one end .* got \(40, 3, 8, 3\)"),
    "empty": (BYTES[:0], LABELS[:0], r"expected class numbers|expected at least one image"),
    "no pixels": (np.zeros((40, 0, 4), np.uint8), LABELS, "expected at least one image"),
    "fewer labels": (BYTES, LABELS[:39], r"labels: expected one a row of images \(40\), got 39"),
    "one-hot": (
        BYTES,
        np.eye(2, dtype=int)[LABELS],
        r"labels: expected whole numbers of shape \(N,\), got int64 of shape",
    ),
    "float labels": (BYTES, LABELS.astype(float), "expected whole numbers .*, got float64"),
    "words": (BYTES, np.array(["cat", "dog"])[LABELS], "expected whole numbers .*, got <U3"),
    "negative": (BYTES, relabelled(7, -2), "expected labels from 0 to 1 .* got -2 in row 7"),
    "gap": (BYTES, LABELS * 2, "class '1' has no training images: expected at least one for each of 3 classes"),
    "wide gap": (BYTES, LABELS * 10**9, "without gaps, got up to 1000000000 in 40 rows"),
    "single class": (BYTES, LABELS * 0, "expected 2 classes or more, .* got 1: 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_arrays_are_refused(case):
    """Each of these trains without an error elsewhere, or dies in a place that says nothing."""
    images, labels, message = CASES[case]
    with pytest.raises(InputError, match=message):
        ImageData.from_arrays(images, labels)


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
