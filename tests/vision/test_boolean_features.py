"""Boolean features: what each bit says, and a cache that is used again only for exactly the same."""

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.boolean_features import (
    BITS,
    PackedSplit,
    boolean_features,
    copies,
    with_boolean_features,
)
from stillhouse.tasks.classification.data.config import DataConfig, FeaturesMode
from stillhouse.tasks.classification.data.images import ImageData


def test_boolean_features_replace_pixels(tmp_path):
    """Mode, preset, size and color each give other bits; the cache is used again only for exactly the same."""
    rng = np.random.default_rng(0)
    images = (rng.random((40, 12, 12, 3)) * 255).astype(np.uint8)
    data = ImageData.from_arrays(images, np.arange(40) % 2, config=DataConfig(test_fraction=0.2))

    def made(**change):
        return with_boolean_features(data, FeaturesMode(cache=str(tmp_path), **change))

    assert made() is data
    conv = made(mode="conv")
    assert conv.input_spec.shape == (3 * BITS, 12, 12)
    batch = conv.test.batch(torch.tensor([2, 0]))
    expected = boolean_features(data.test.batch(torch.tensor([2, 0])).inputs).float()
    assert torch.equal(batch.inputs, expected)
    assert torch.equal(batch.labels, data.test.labels[[2, 0]])
    many = made(mode="fashion_aug")
    assert len(many.train) == 6 * len(data.train)
    assert len(many.test) == len(data.test)
    assert made(mode="conv", grayscale=True).input_spec.shape[0] == BITS
    assert made(mode="conv", size=(6, 8)).input_spec.shape[1:] == (6, 8)
    assert made(mode="conv", preset="mnist").input_spec.shape == (BITS, 28, 28)
    folders = sorted(tmp_path.iterdir())
    before = {folder: folder.stat().st_mtime_ns for folder in folders}
    assert isinstance(made(mode="conv").train, PackedSplit)
    assert {folder: folder.stat().st_mtime_ns for folder in tmp_path.iterdir()} == before
    other = ImageData.from_arrays(255 - images, np.arange(40) % 2, config=DataConfig(test_fraction=0.2))
    with_boolean_features(other, FeaturesMode(cache=str(tmp_path), mode="conv"))
    assert len(list(tmp_path.iterdir())) == len(folders) + 1
    folder = next(tmp_path / f.name for f in folders if np.load(f / "train.npy").shape[1] == 3 * BITS * 12 * 12 // 8)
    packed = np.load(folder / "train.npy")
    packed[0, 0] ^= 255
    np.save(folder / "train.npy", packed)
    with pytest.raises(InputError, match=r"train\.npy was changed after it was written.*features.force=true"):
        made(mode="conv")
    made(mode="conv", force=True)
    labels = np.load(folder / "train-labels.npy")
    np.save(folder / "train-labels.npy", labels[::-1])
    with pytest.raises(InputError, match=r"train-labels\.npy was changed"):
        made(mode="conv")
    assert torch.equal(made(mode="conv", force=True).test.batch(torch.tensor([2, 0])).inputs, expected)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"not JSON.*features.force=true"):
        made(mode="conv")


@pytest.mark.parametrize("mode", ["conv", "fashion_aug"])
def test_teachers_are_shown_the_images_that_bits_were_made_of(mode, tmp_path):
    """Row for row: a teacher's answer is kept by row, and a row off by one would teach another image's classes."""
    images = (np.random.default_rng(0).random((30, 9, 9)) * 255).astype(np.uint8)
    data = ImageData.from_arrays(images, np.arange(30) % 2, config=DataConfig(test_fraction=0.2))
    bits = with_boolean_features(data, FeaturesMode(cache=str(tmp_path), mode=mode))
    seen = bits.for_teachers
    assert seen.input_spec.shape == (1, 9, 9)
    assert len(seen.train) == len(bits.train)
    picked = torch.tensor([5, 0, len(seen.train) - 1])
    again = boolean_features(seen.train.batch(picked).inputs).float()
    assert torch.equal(again, bits.train.batch(picked).inputs)
    for split in ("train", "validation", "test"):
        rows = 0
        for batch in getattr(seen, split).batches(5):
            packed = getattr(bits, split).batch(batch.index)
            assert torch.equal(boolean_features(batch.inputs).float(), packed.inputs)
            assert torch.equal(batch.labels, packed.labels)
            rows += len(batch.index)
        assert rows == len(getattr(bits, split))


def test_boolean_features_are_what_they_say():
    """Mirrored is left to right; a vertical edge fires the Sobel bit and its turn does not."""
    x = torch.zeros(1, 1, 9, 9)
    x[..., 5:] = 1.0
    bits = boolean_features(x)[0]
    assert bits[0].equal(x[0, 0] > 0)
    assert bits[4, 4, 4]  # Sobel in x, above 0, at the edge
    assert not bits[13, 4, 4]  # its quarter turn
    assert torch.equal(copies(x)[5], x.flip(-1))
    assert all(torch.equal(c.shape and torch.tensor(c.shape), torch.tensor(x.shape)) for c in copies(x))
