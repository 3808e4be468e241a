"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 in torchvision's layout and through torchvision's downloads."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.lock import missing_folders, remove_empty
from stillhouse.tasks.classification.data.streamed import Loaded, Rows

CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
log = logging.getLogger(__name__)


def load_torchvision(name: str, root: Path, download: bool) -> Loaded:
    """Both splits of one of torchvision's sets, as tensors.

    What lies under the root is read first and never written to, so a read-only root will do.

    Args:
        name: a key of `CLASSES`.
        root: torchvision's root, the folder that holds `MNIST/` or `cifar-10-batches-py/`.
        download: fetch what is missing.

    Raises:
        InputError: missing and not to be downloaded (or the download failed), or damaged.
    """
    from torchvision import datasets

    kind = getattr(datasets, CLASSES[name])
    files = _cifar_files(kind) if name.startswith("cifar") else _mnist_files(kind)
    missing = _missing(root, files)
    if missing and download:
        _download(kind, root, name)
        missing = _missing(root, files)
    if missing:
        raise InputError(_not_found(name, root, missing) + "; downloading was switched off")
    try:
        return _read_cifar(kind, name, root) if name.startswith("cifar") else _read_mnist(kind, name, root)
    except InputError:
        raise
    except Exception as error:  # torchvision and pickle raise nearly anything on a torn file
        folder = (root / files[0]).parent
        raise InputError(
            f"{name}: the files in {folder} are damaged ({type(error).__name__}: {error}); "
            f"remove that folder and run again with download, or point data.root elsewhere"
        ) from None


def _mnist_files(kind: Any) -> list[str]:
    return [f"{kind.__name__}/raw/{Path(url).stem}" for url, _ in kind.resources]


def _cifar_files(kind: Any) -> list[str]:
    return [
        f"{kind.base_folder}/{name}" for name, _ in [*kind.train_list, *kind.test_list, (kind.meta["filename"], "")]
    ]


def _missing(root: Path, files: list[str]) -> list[str]:
    return [name for name in files if not (root / name).is_file()]


def _not_found(name: str, root: Path, missing: list[str]) -> str:
    return f"{name}: looked in {root} (data.root) and expected there {missing[0]} ({len(missing)} missing files)"


def _download(kind: Any, root: Path, name: str) -> None:
    """Fetch into a folder beside, then rename file by file: a killed download never looks like a finished one."""
    missing = _missing(root, _cifar_files(kind) if name.startswith("cifar") else _mnist_files(kind))
    made = missing_folders(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            kind(folder, download=True)
            for file in missing:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(folder, file), root / file)
    except Exception as error:  # URLError, RuntimeError, timeouts, a full disk: each means "not there"
        remove_empty(made)
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{_not_found(name, root, missing)}; the download failed: {reason}. "
            f"Put the files there, or name a folder that has them with data.root"
        ) from None


# ---------------------------------------------------------------------------------------------- MNIST and its kin


def _read_mnist(kind: Any, name: str, root: Path) -> Loaded:
    splits = [kind(root, train=train, download=False) for train in (True, False)]
    rows = [Rows(split.data.unsqueeze(1), split.targets) for split in splits]
    # torchvision calls the digits "0 - zero"
    class_names = tuple(str(digit) for digit in range(10)) if name == "mnist" else tuple(kind.classes)
    return Loaded(name, class_names, rows[0], test=rows[1])


# ---------------------------------------------------------------------------------------------- CIFAR


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
            import _codecs

            return _codecs.encode
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")


def _unpickle(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return dict(_ArrayUnpickler(file, encoding="latin1").load())


def _read_cifar(kind: Any, name: str, root: Path) -> Loaded:
    """The batch files as torchvision reads them, but also those that are not torchvision's bytes, and without `pickle.load`."""
    from torchvision.datasets.utils import check_integrity

    folder = root / kind.base_folder
    changed = [
        file for file, md5 in [*kind.train_list, *kind.test_list] if not check_integrity(str(folder / file), md5)
    ]
    if changed:
        log.warning(
            "%s: %s in %s are not the bytes that torchvision knows (md5); they are read without that check",
            name,
            ", ".join(changed),
            folder,
        )
    meta = _unpickle(folder / kind.meta["filename"])
    return Loaded(
        name,
        tuple(str(word) for word in meta[kind.meta["key"]]),
        _cifar_rows([folder / file for file, _ in kind.train_list]),
        test=_cifar_rows([folder / file for file, _ in kind.test_list]),
    )


def _cifar_rows(paths: list[Path]) -> Rows:
    batches = [_unpickle(path) for path in paths]
    pixels = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches])
    labels = [label for batch in batches for label in (batch["labels"] if "labels" in batch else batch["fine_labels"])]
    return Rows(torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.tensor(labels, dtype=torch.int64))


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
