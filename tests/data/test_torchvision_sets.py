"""MNIST's and CIFAR's files, written here in miniature."""

import os
import pickle
import struct

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.config import DataConfig


def idx(array):
    """An array in the idx format of MNIST: two zero bytes, type 8 (uint8), number of axes, their lengths, the bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_files(seed=0):
    rng, files = np.random.default_rng(seed), {}
    for split, count in (("train", 200), ("t10k", 30)):
        files[f"{split}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write_mnist(root, folder="MNIST"):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, content in mnist_files().items():
        (raw / name).write_bytes(content)
    return raw


def write_cifar(root, old_numpy=False):
    """Batches of rows that are all red, then all green, then all blue: 1024 bytes each, as CIFAR stores them."""
    place = root / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for number, (name, count) in enumerate({**{f"data_batch_{n}": 40 for n in range(1, 6)}, "test_batch": 10}.items()):
        data = np.repeat(np.array([[10 + number, 20, 30]], np.uint8), 1024, axis=1).repeat(count, axis=0)
        content = pickle.dumps({"data": data, "labels": [n % 10 for n in range(count)]}, protocol=2)
        if old_numpy:  # the real files were written by a NumPy from before the move to numpy._core
            assert b"numpy._core.multiarray" in content
            content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (place / name).write_bytes(content)
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"c{n}" for n in range(10)]}))
    return place


def build(name, root, **settings):
    return DataConfig(name=name, root=str(root), **{"download": False, **settings}).build()


@pytest.mark.parametrize(
    ("name", "folder", "first"), [("mnist", "MNIST", "0"), ("fashion-mnist", "FashionMNIST", "T-shirt/top")]
)
def test_idx_files_are_read(tmp_path, name, folder, first):
    write_mnist(tmp_path, folder)
    data = build(name, tmp_path)
    assert data.sizes == {"train": 180, "validation": 20, "test": 30}
    assert (data.name, data.input_spec.shape, data.input_spec.class_names[0]) == (name, (1, 28, 28), first)
    expected = np.frombuffer(mnist_files()["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(30, 1, 28, 28)
    assert np.array_equal(data.test.images.numpy(), expected)
    assert data.test.labels.tolist() == [n % 10 for n in range(30)]


def test_data_that_are_there_are_never_written_to(tmp_path):
    """A read-only root shared by many is the usual place for data sets."""
    write_mnist(tmp_path)
    write_cifar(tmp_path)
    folders = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    before = sorted(tmp_path.rglob("*"))
    try:
        for name in ("mnist", "cifar10"):
            build(name, tmp_path, download=True)
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("old_numpy", [False, True])
def test_cifar_files_that_torchvision_does_not_know_are_read(tmp_path, old_numpy):
    """torchvision calls rewritten CIFAR batches corrupted and downloads over them."""
    write_cifar(tmp_path, old_numpy=old_numpy)
    data = build("cifar10", tmp_path)
    assert data.sizes == {"train": 180, "validation": 20, "test": 10}
    assert data.input_spec.class_names == tuple(f"c{n}" for n in range(10))
    assert data.test.images[:, :, 9, 4].unique(dim=0).tolist() == [[15, 20, 30]]
    assert data.test.labels.tolist() == list(range(10))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    """`pickle.load` on a batch file from elsewhere would run whatever it says."""
    place, told = write_cifar(tmp_path), tmp_path / "told"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(told),)

    (place / "data_batch_3").write_bytes(pickle.dumps({"data": Evil(), "labels": []}))
    with pytest.raises(InputError, match=r"mkdir, which is no array"):
        build("cifar10", tmp_path)
    assert not told.exists()


def test_torn_and_missing_files_say_where_was_looked(tmp_path):
    """torchvision looks only whether a file is there, and then dies in a reshape, every time anew."""
    file = write_mnist(tmp_path / "torn") / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-20])
    for name, root in (("mnist", "torn"), ("mnist", "none"), ("cifar10", "none")):
        with pytest.raises(InputError, match=rf"{name}: expected the files of .* in .*{root} \(data.root\)"):
            build(name, tmp_path / root)
