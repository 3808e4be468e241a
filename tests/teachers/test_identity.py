"""What tells one teacher from another: a resumed run must not be taught by someone else."""

import torch
from torch import nn

from stillhouse.core.types import Batch, ImageSpec
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.teacher import Teacher

SPEC = ImageSpec(("a", "b"), (1, 4, 4), (0.5,), (0.5,))


def teacher(seed=0, name="t", mean=0.0):
    torch.manual_seed(seed)
    return Teacher.from_module(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), SPEC, name=name, mean=(mean,))


def batch():
    return Batch(torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64), torch.arange(3))


def test_weights_and_normalization_are_the_identity_and_the_name_is_not():
    """A file that was moved is the same teacher; one trained further is not."""
    same, other = teacher(), teacher()
    assert same.identity() == other.identity() == teacher(name="moved").identity()
    assert teacher(mean=0.5).identity() != same.identity()
    with torch.no_grad():
        other.module[1].bias[1] += 1e-6
    assert other.identity() != same.identity()


def test_a_cache_is_its_teacher_and_an_ensemble_all_of_its_members():
    """In their order: learned weights belong to places."""
    one, two = teacher(0), teacher(1)
    cached = CachedTeacher(one, [batch()], 3)
    assert (cached.identity(), cached.params) == (one.identity(), one.params)
    both = EnsembleTeacher([one, two]).identity()
    assert EnsembleTeacher([cached, two]).identity() == both
    assert EnsembleTeacher([two, one]).identity() != both
