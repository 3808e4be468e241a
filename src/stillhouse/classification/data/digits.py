"""The 1,797 handwritten digits that come with scikit-learn: nothing to download, good for a first run."""

from __future__ import annotations

import numpy as np
import torch

from stillhouse.classification.data.sources import Loaded, Rows


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
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(found.target.astype(np.int64))
    return Loaded("digits", tuple(str(name) for name in found.target_names), Rows(images, labels))
