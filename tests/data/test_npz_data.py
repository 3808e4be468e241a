"""Arrays from a file."""

import numpy as np
import pytest
from numbered_images import numbered

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data import DataConfig, ImageData


def build(path, **settings):
    return DataConfig(name="npz", root=str(path), **settings).build()


def save(path, **arrays):
    images, labels = numbered([30, 30])
    np.savez_compressed(path, **{"images": images, "labels": labels} | arrays)
    return path


def test_a_file_is_what_its_arrays_are(tmp_path):
    images, labels = numbered([30, 30])
    data = build(save(tmp_path / "mine.npz"))
    assert data.name == "mine"
    assert data.sha256 == ImageData.from_arrays(images, labels).sha256


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.full((60, 4, 4), 3.0)}, r"pixels in \[0, 1\], got 960 others, first 3 in row 0"),
        ({"labels": np.arange(60) * 0}, "expected at least 2 classes"),
        ({"class_names": np.array(["a", None], dtype=object)}, "got one that cannot be read: it holds Python objects"),
        ({"class_names": np.array([1, 2])}, r"class_names: expected \(K,\) strings, got int64 of shape \(2,\)"),
        ({"class_names": np.array(["a", "b", "c"])}, "class 'c' has no training images"),
        ({"test_image": np.zeros(3)}, "unknown array 'test_image'; did you mean 'test_images'?"),
        ({"test_images": np.zeros((3, 6, 6), np.uint8)}, "got test_images without test_labels"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        build(save(tmp_path / "d.npz", **arrays))


def test_files_that_are_no_npz_are_refused(tmp_path):
    """NumPy's own words for these are `Cannot load file containing pickled data`."""
    whole = save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[:-30])
    (tmp_path / "flipped.npz").write_bytes(whole[:800] + bytes([whole[800] ^ 255]) + whole[801:])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "words.npz").write_text("no array")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    for name in ("torn.npz", "flipped.npz", "empty.npz", "words.npz", "bare.npy", "."):
        with pytest.raises(InputError, match=r"expected a \.npz file"):
            build(tmp_path / name)
    with pytest.raises(InputError, match="got nothing there"):
        build(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="unknown array 'x'; known: class_names, images"):
        build(tmp_path / "other.npz")
    np.savez(tmp_path / "half.npz", images=np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="expected an array 'labels', got images"):
        build(tmp_path / "half.npz")
