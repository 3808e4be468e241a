"""What a data set hands to models: batches, statistics, fingerprint, layout."""

import numpy as np
import pytest
import torch
from numbered_images import numbered

from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData, ImageSplit


def test_a_batch_has_pixels_from_0_to_1_and_its_rows():
    """Pixels from 0 to 255 saturate every model without an error."""
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    batch = ImageSplit(images, torch.tensor([5, 6, 7])).batch(torch.tensor([2, 1]))
    assert batch.inputs.flatten().tolist() == pytest.approx([1.0, 0.2])
    assert (batch.inputs.dtype, batch.labels.tolist(), batch.index.tolist()) == (torch.float32, [7, 6], [2, 1])


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_pixel_statistics_are_those_of_the_training_split(kind):
    """Statistics over all rows let the test split into training; NumPy is the independent source."""
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 200, (2500, 3, 5, 7), dtype=np.uint8), np.arange(2500) % 2
    images[:, 1] //= 3
    data = ImageData.from_arrays(images if kind == "uint8" else (images / 255).astype(np.float32), labels)
    pixels = data.train.images.double().numpy() / (255 if kind == "uint8" else 1)
    assert data.input_spec.pixel_mean == pytest.approx(pixels.mean((0, 2, 3)), rel=1e-6)
    assert data.input_spec.pixel_std == pytest.approx(pixels.std((0, 2, 3)), rel=1e-6)
    assert data.input_spec.shape == (3, 5, 7)


def test_a_constant_channel_gets_deviation_one():
    """Zero would make every normalized pixel NaN."""
    data = ImageData.from_arrays(np.full((40, 4, 4), 7, np.uint8), np.arange(40) % 2)
    assert data.input_spec.pixel_std == (1.0,)


def test_the_fingerprint_is_stable_and_sees_one_pixel_one_label_and_the_split():
    """A resumed run on changed data must be noticed."""
    images, labels = numbered([40, 40])
    base = ImageData.from_arrays(images, labels).sha256
    assert ImageData.from_arrays(images.copy(), torch.from_numpy(labels)).sha256 == base
    changed = images.copy()
    changed[17, 3, 3] ^= 1
    assert ImageData.from_arrays(changed, labels).sha256 != base
    assert ImageData.from_arrays(images, labels, config=DataConfig(split_seed=1)).sha256 != base
    test = images[:8], labels[:8]
    other = images[:8], 1 - labels[:8]
    assert (
        ImageData.from_arrays(images, labels, test=test).sha256
        != ImageData.from_arrays(images, labels, test=other).sha256
    )


def test_all_layouts_of_one_data_set_are_one_data_set():
    """Channels last read as channels first shows models stripes."""
    rng = np.random.default_rng(3)
    first = rng.integers(0, 256, (40, 3, 6, 5), dtype=np.uint8)
    labels = np.arange(40) % 2
    base = ImageData.from_arrays(first, labels)
    assert base.input_spec.shape == (3, 6, 5)
    for same in (first.transpose(0, 2, 3, 1), torch.from_numpy(first), torch.from_numpy(first).permute(0, 2, 3, 1)):
        assert ImageData.from_arrays(same, labels.astype(np.uint8)).sha256 == base.sha256
    gray = first[:, 0]
    assert ImageData.from_arrays(gray, labels).sha256 == ImageData.from_arrays(gray[..., None], labels).sha256


def test_resizing_cuts_the_middle_out():
    """A squeezed image is another image: of 8x12, only the middle 8x8 is seen."""
    images = np.full((40, 8, 12), 255, np.uint8)
    images[:, :, 2:10] = 100
    data = ImageData.from_arrays(images, np.arange(40) % 2, config=DataConfig(image_size=4))
    assert data.input_spec.shape == (1, 4, 4)
    assert set(data.train.images.flatten().tolist()) == {100}


def test_channels_are_mixed_as_pillow_mixes_them_and_repeated():
    from PIL import Image

    images = np.random.default_rng(5).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    gray = ImageData.from_arrays(images, labels, config=DataConfig(channels=1), test=(images, labels))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.abs(gray.test.images[:, 0].numpy().astype(int) - expected).max() <= 1
    colour = ImageData.from_arrays(images[..., 0], labels, config=DataConfig(channels=3))
    assert colour.input_spec.shape == (3, 6, 6)
    assert torch.equal(colour.train.images[:, 0], colour.train.images[:, 2])
