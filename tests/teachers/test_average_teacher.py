"""The average of the student: its weights in closed form, its buffers, its resume."""

import pytest
import torch
from torch import nn

from stillhouse.core.types import Batch
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.teachers.average import AverageTeacher


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 3)
        self.register_buffer("annealed", torch.ones(()), persistent=False)

    def forward(self, x):
        return self.head(self.body(x)) * self.annealed


def images(seed=0):
    torch.manual_seed(seed)
    return torch.rand(8, 1, 2, 2)


def batch(seed=0):
    return Batch(images(seed), torch.zeros(8, dtype=torch.int64), torch.arange(8))


def student(seed=0):
    torch.manual_seed(seed)
    return Student()


def test_the_weights_are_the_average_with_its_ramp():
    """m_t = min(m, (1 + t)/(10 + t)): without the ramp the random start stays for a thousand steps."""
    model = student()
    teacher = AverageTeacher(model, images(), decay=0.25)
    expected = model.head.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            model.head.weight.add_(torch.randn(3, 6))
        teacher.update(model, step)
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.head.weight.detach()
        torch.testing.assert_close(teacher.module.head.weight.detach(), expected)
    assert teacher.decay_at(0) == pytest.approx(0.1)
    assert teacher.decay_at(10**6) == 0.25


def test_buffers_follow_too():
    """Averaged weights with the BatchNorm statistics of the start give nonsense; so does a stale annealed number."""
    model = student()
    teacher = AverageTeacher(model, images(), decay=0.5)
    model.train()
    for step in range(20):
        model(images(step))
        model.annealed.fill_(3.0)
        teacher.update(model, step)
    norm = teacher.module.body[2]
    assert norm.num_batches_tracked == 20
    torch.testing.assert_close(norm.running_mean, model.body[2].running_mean, atol=0.05, rtol=0)
    assert norm.running_mean.abs().sum() > 0
    assert teacher.module.annealed == 3.0


def test_it_is_frozen_in_eval_mode_and_apart():
    """The optimizer must not see it, .train() must not reach it, and the student's steps must not move it."""
    model = student()
    teacher = AverageTeacher(model, images(), features=("body",))
    first = teacher(batch())
    with torch.no_grad():
        model.head.weight.mul_(2)
    teacher.module.train()
    told = teacher(batch())
    torch.testing.assert_close(told.logits, first.logits)
    assert not told.logits.requires_grad
    assert told.features["body"].shape == (8, 6)
    assert not any(p.requires_grad for p in teacher.module.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert teacher.spec.num_classes == 3
    assert teacher.params == sum(p.numel() for p in model.parameters())


def test_a_copied_tap_does_not_write_into_the_students_features():
    """A deep copy shares the hook of the student, whose features the teacher would overwrite."""
    model = student()
    extractor = FeatureExtractor(model, ("body",))
    kept = []
    model.head.register_forward_hook(lambda module, args, output: kept.append(1))
    teacher = AverageTeacher(model, images())
    before = len(kept)
    teacher(batch())
    assert extractor._seen == {}
    assert len(kept) == before + 1  # a hook that is not a tap is part of the model


def test_resume_gives_the_same_average():
    """The checkpoint has to hold the average, not only the student."""
    model = student()
    teacher = AverageTeacher(model, images())
    for step in range(3):
        with torch.no_grad():
            model.head.weight.add_(1.0)
        teacher.update(model, step)
    again = AverageTeacher(student(7), images())
    again.load_state_dict(teacher.state_dict())
    torch.testing.assert_close(again(batch()).logits, teacher(batch()).logits)
