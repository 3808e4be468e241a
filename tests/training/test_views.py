"""Patient and consistent: teacher and student see the very same tensors, unless a worse choice is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.training.distillation import SignalSet
from stillhouse.training.loop import fit


def fit_classifier(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


def seen_by(view, tmp_path):
    rng = np.random.default_rng(0)
    images = (rng.random((120, 1, 8, 8)) * 255).astype(np.uint8)
    config = DataConfig(test_fraction=0.1, augment="crop-flip")
    data = ImageData.from_arrays(images, np.arange(120) % 2, config=config)
    theirs, ours = [], []

    def teacher(batch):
        theirs.append((batch.inputs.clone(), batch.index.clone()))
        return Outputs(torch.zeros(len(batch.labels), 2))

    class Student(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 2)

        def forward(self, pixels):
            if self.training:
                ours.append(pixels.clone())
            return self.linear(pixels.flatten(1))

    stage_context = SignalSet(teacher, build_signals((LogitsConfig(),), OutputSpec(2), OutputSpec(2)))
    training = replace(ClassificationTrainingConfig(), epochs=1, batch_size=32, device="cpu", teacher_view=view)
    fit_classifier(Student(), data, training, seed=0, folder=tmp_path / view, signal_set=stage_context)
    assert len(ours) == len(theirs) > 1
    return data, ours, theirs


def test_the_same_view_is_the_same_to_the_bit(tmp_path):
    """Targets of another crop of the image are the commonest silent fault of distillation with augmentation."""
    _, ours, theirs = seen_by("same", tmp_path)
    assert all(torch.equal(a, b) for a, (b, _) in zip(ours, theirs))


def test_an_independent_view_is_another_draw(tmp_path):
    """Same rows, other crops."""
    data, ours, theirs = seen_by("independent", tmp_path)
    for a, (b, rows) in zip(ours, theirs):
        clean = data.train.batch(rows).inputs
        assert not torch.equal(a, b)
        assert not torch.equal(b, clean)


def test_a_clean_view_is_not_augmented(tmp_path):
    """The images as they are stored, row by row."""
    data, ours, theirs = seen_by("clean", tmp_path)
    for a, (b, rows) in zip(ours, theirs):
        assert torch.equal(b, data.train.batch(rows).inputs)
        assert not torch.equal(a, b)


@pytest.mark.parametrize("view", ["independent", "clean"])
def test_the_students_view_does_not_depend_on_the_teachers(view, tmp_path):
    """A comparison of views in which the student's images change too compares two things."""
    _, ours, _ = seen_by("same", tmp_path)
    _, again, _ = seen_by(view, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(ours, again))
