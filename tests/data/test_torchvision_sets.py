"""MNIST's and CIFAR's files, written here in miniature."""

import gzip
import hashlib
import os
import pickle
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision import datasets

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data import DataConfig


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


def write_cifar(root, folder="cifar-10-batches-py", old_numpy=False):
    """Batches of rows that are all red, then all green, then all blue: 1024 bytes each, as CIFAR stores them."""
    place = root / folder
    place.mkdir(parents=True)
    hundred = folder != "cifar-10-batches-py"
    if hundred:
        classes, batches = 100, {"train": 300, "test": 100}
    else:
        classes, batches = 10, {**dict.fromkeys([f"data_batch_{n}" for n in range(1, 6)], 40), "test_batch": 10}
    for number, (name, count) in enumerate(batches.items()):
        data = np.repeat(np.array([[10 + number, 20, 30]], np.uint8), 1024, axis=1).repeat(count, axis=0)
        labels = [n % classes for n in range(count)]
        content = pickle.dumps({"data": data, "fine_labels" if hundred else "labels": labels}, protocol=2)
        if old_numpy:  # the real files were written by a NumPy from before the move to numpy._core
            assert b"numpy._core.multiarray" in content
            content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (place / name).write_bytes(content)
    key = "fine_label_names" if hundred else "label_names"
    (place / ("meta" if hundred else "batches.meta")).write_bytes(
        pickle.dumps({key: [f"c{n}" for n in range(classes)]})
    )
    return place


@pytest.fixture
def mirror(tmp_path):
    """A web server on this machine that hands out a folder: the folder and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "mirror"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


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
def test_cifar_files_that_torchvision_does_not_know_are_read_and_said_so(tmp_path, caplog, old_numpy):
    """torchvision calls rewritten CIFAR batches corrupted and downloads over them."""
    write_cifar(tmp_path, old_numpy=old_numpy)
    data = build("cifar10", tmp_path)
    assert "data_batch_1" in caplog.text
    assert "not the bytes that torchvision knows" in caplog.text
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
    with pytest.raises(InputError, match=r"damaged .*mkdir, which is no array"):
        build("cifar10", tmp_path)
    assert not told.exists()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_torn_file_is_named_damaged(tmp_path, name):
    """torchvision looks only whether a file is there, and then dies in a reshape, every time anew."""
    file = write_mnist(tmp_path) / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"mnist: the files in .*raw are damaged .*remove that folder"):
        build("mnist", tmp_path)


def test_missing_data_say_where_was_looked_and_for_what(tmp_path):
    for name, file in (("mnist", "MNIST/raw/train-images-idx3-ubyte"), ("cifar10", "cifar-10-batches-py/data_batch_1")):
        with pytest.raises(InputError) as caught:
            build(name, tmp_path)
        for word in (str(tmp_path), "data.root", file, "downloading was switched off"):
            assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_says_so_and_leaves_nothing(tmp_path, monkeypatch, mirror):
    """torchvision leaves an empty MNIST/raw behind, which looks like data."""
    monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror[1]])
    with pytest.raises(
        InputError, match=r"expected there MNIST/raw/train-images.*; the download failed: .*404"
    ) as caught:
        build("mnist", tmp_path / "root", download=True)
    assert "data.root" in str(caught.value)
    assert not (tmp_path / "root").exists()


def test_a_download_fills_in_what_is_missing(tmp_path, monkeypatch, mirror):
    """The files arrive whole, and one that was there stays."""
    folder, address = mirror
    resources = []
    for name, content in mnist_files().items():
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    raw = write_mnist(tmp_path / "root")
    (raw / "t10k-labels-idx1-ubyte").unlink()
    kept = (raw / "train-images-idx3-ubyte").stat().st_ino
    assert build("mnist", tmp_path / "root", download=True).sizes["test"] == 30
    assert (raw / "train-images-idx3-ubyte").stat().st_ino == kept
    assert sorted(path.name for path in raw.iterdir()) == sorted(mnist_files())
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["MNIST"]
