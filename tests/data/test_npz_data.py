"""Arrays from a file."""

import numpy as np
import pytest
from numbered_images import numbered

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData


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
        ({"images": np.full((60, 4, 4), 3.0)}, r"pixels in \[0, 1\], got 3 to 3"),
        ({"labels": np.arange(60) * 0}, "expected 2 classes or more"),
        ({"class_names": np.array(["a", None], dtype=object)}, "as an npz file of plain arrays"),
        ({"class_names": np.array(["a", "b", "c"])}, "class 'c' has no training images"),
        ({"test_image": np.zeros(3)}, "unknown array 'test_image'; did you mean 'test_images'?"),
        ({"test_images": np.zeros((3, 6, 6), np.uint8)}, "expected arrays test_images and test_labels"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        build(save(tmp_path / "d.npz", **arrays))


def test_files_that_are_no_npz_are_refused(tmp_path):
    """NumPy's own words for these are `Cannot load file containing pickled data`."""
    whole = save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[:-30])
    (tmp_path / "words.npz").write_text("no array")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    for name in ("torn.npz", "words.npz", "bare.npy", ".", "none.npz"):
        with pytest.raises(InputError, match="cannot read"):
            build(tmp_path / name)
    np.savez(tmp_path / "half.npz", images=np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="expected arrays images and labels"):
        build(tmp_path / "half.npz")
