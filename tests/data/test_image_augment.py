"""Augmentation: seeded, per image, in range."""

import numpy as np
import pytest
import torch

from stillhouse.tasks.classification.data.augment import augment
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData

HOWS = ("shift", "affine", "crop-flip")


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", HOWS)
def test_a_seed_fixes_the_draw(how):
    """A teacher's answers are cached by augmentation seed: the images behind them must come again."""
    x = images(6, 3, 12, 16)
    assert torch.equal(augment(x, how, 5), augment(x, how, 5))
    assert not torch.equal(augment(x, how, 5), augment(x, how, 6))


@pytest.mark.parametrize("how", HOWS)
def test_every_image_has_its_own_draw(how):
    """torchvision's transforms move a whole batch by one draw."""
    y = augment(images(1, 1, 16, 16).expand(32, -1, -1, -1), how, 2)
    assert len({image.numpy().tobytes() for image in y}) > 16


def test_crop_and_flip_give_only_shifted_and_mirrored_images():
    """Every result must be a crop of the padded image or of its mirror, and both must occur."""
    x = images(1, 3, 16, 24)
    results = augment(x.expand(64, -1, -1, -1), "crop-flip", 4)
    padded = torch.nn.functional.pad(x[0], (3, 3, 2, 2))
    crops = {}
    for top in range(5):
        for left in range(7):
            crop = padded[:, top : top + 16, left : left + 24]
            crops[crop.numpy().tobytes()], crops[crop.flip(2).numpy().tobytes()] = (top, left, 0), (top, left, 1)
    found = {crops[image.contiguous().numpy().tobytes()] for image in results}
    assert {flip for _, _, flip in found} == {0, 1}
    assert {top for top, _, _ in found} == set(range(5))
    assert {left for _, left, _ in found} == set(range(7))


def test_a_shift_moves_and_does_nothing_else():
    """Digits must not be mirrored; all offsets occur, up to an eighth of each side, zeros come in."""
    x = images(1, 3, 16, 24)
    padded = torch.nn.functional.pad(x[0], (3, 3, 2, 2))
    offsets = {
        padded[:, top : top + 16, left : left + 24].numpy().tobytes(): (top, left)
        for top in range(5)
        for left in range(7)
    }
    found = [offsets[image.numpy().tobytes()] for image in augment(x.expand(400, -1, -1, -1), "shift", 4)]
    assert set(found) == set(offsets.values())


def test_the_configuration_decides_what_a_data_set_does():
    labels = np.arange(40) % 2
    pixels = np.random.default_rng(0).random((40, 8, 8), dtype=np.float32)
    x = images(4, 1, 8, 8)
    plain = ImageData.from_arrays(pixels, labels)
    assert torch.equal(plain.augment(x, seed=1), x)
    for how in HOWS:
        data = ImageData.from_arrays(pixels, labels, config=DataConfig(augment=how))
        assert torch.equal(data.augment(x, seed=1), augment(x, how, 1))
