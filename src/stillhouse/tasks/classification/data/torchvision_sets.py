"""Digits of scikit-learn; MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 of torchvision."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.images import ImageSplit, Loaded

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
