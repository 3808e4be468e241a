"""Data larger than memory: images behind files. The same rows in the same order as from memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.augment import augment
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.streamed import Streamed
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.training.loop import fit


def fit_classifier(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


FOLDER = DataConfig(name="folder", image_size=8, channels=3, test_fraction=0.2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path):
    """60 pictures of two classes, of a size that is not the one asked for."""
    rng = np.random.default_rng(0)
    for number in range(60):
        place = tmp_path / "pictures" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = (rng.random((12, 10, 3)) * 127 + 128 * (number % 2)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return tmp_path / "pictures"


def rows(split):
    batch = split.batch(torch.arange(len(split)))
    return batch.inputs, batch.labels


def test_streamed_rows_are_those_of_memory(pictures):
    """Pixels, labels and splits."""
    held = replace(FOLDER, root=str(pictures)).build()
    data = replace(FOLDER, root=str(pictures), stream=True).build()
    assert isinstance(data.train.images, Streamed)
    assert data.input_spec.class_names == held.input_spec.class_names
    assert data.input_spec.pixel_mean == pytest.approx(held.input_spec.pixel_mean)
    for name in ("train", "validation", "test"):
        for ours, theirs in zip(rows(getattr(data, name)), rows(getattr(held, name)), strict=True):
            assert torch.equal(ours, theirs)


def test_a_training_on_streamed_images_is_the_training_on_images_in_memory(pictures, tmp_path):
    """Rows that are decoded ahead must be those of the next step."""
    config = ClassificationTrainingConfig(epochs=1, batch_size=7, device="cpu", threads=1, accumulate=2)
    weights = []
    for stream in (False, True):
        data = replace(FOLDER, root=str(pictures), stream=stream, augment="resized-crop").build()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        fit_classifier(model, data, config, seed=0, folder=tmp_path / f"{stream}")
        weights.append(model[1].weight)
    assert torch.equal(*weights)


def test_nothing_but_a_batch_is_decoded(pictures, monkeypatch):
    """All that opening the data may look at is a sample for the pixels' mean."""
    seen = []
    decoded = Streamed._decoded
    monkeypatch.setattr(Streamed, "_decoded", lambda self, row: seen.append(row) or decoded(self, row))
    monkeypatch.setattr("stillhouse.tasks.classification.data.streamed.SAMPLE", 4)
    data = replace(FOLDER, root=str(pictures), stream=True).build()
    assert len(data.sha256) == 64
    assert len(seen) == 4
    data.train.ahead(torch.tensor([5, 6]))
    data.train.batch(torch.tensor([5, 6, 7]))
    assert sorted(seen[4:]) == [5, 6, 7]


def test_streams_want_a_size(pictures):
    """Of pictures of any size no batch can be made."""
    with pytest.raises(InputError, match="image_size"):
        replace(FOLDER, root=str(pictures), stream=True, image_size=None).build()


def test_resized_crops_are_parts_of_the_image():
    """Of a ramp every crop is a part: no value outside, seldom all of it, and rising or (mirrored) falling."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(64, 1, 16, 16)
    found = augment(ramp, "resized-crop", 0)
    assert found.shape == ramp.shape
    assert 0.19 < float(found.min()) < float(found.max()) < 0.81
    span = (found[..., -1] - found[..., 0]).mean((1, 2))
    assert 10 < int((span > 0).sum()) < 54
    assert float(span.abs().mean()) < 0.5 < float(span.abs().max()) + 0.1
