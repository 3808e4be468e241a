"""Several teachers at once: each asked in its own way, pooled as the name says."""

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.teachers.cached import CachedTeacher
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.teacher import Teacher

SPEC = ImageSpec(("a", "b", "c"), (1, 8, 8), (0.5,), (0.5,))


def batch(rows=5):
    torch.manual_seed(0)
    return Batch(torch.rand(rows, 1, 8, 8), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


def teacher(seed, side=8, channels=1, features=(), classes=3, name=None, input_spec=SPEC):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 6), nn.ReLU(), nn.Linear(6, classes))
    return Teacher.from_module(
        module, input_spec, mean=(0.3,), std=(0.2,), side=side, channels=channels, features=features, name=name
    )


def test_each_is_asked_with_its_own_preprocessing():
    """One teacher's size, channels and normalization must not be used for another."""
    one, other = teacher(0), teacher(1, side=4, channels=3)
    told = EnsembleTeacher([one, other], ["small", "coloured"])(batch())
    for member, said in zip((one, other), told.members):
        torch.testing.assert_close(said.logits, member(batch()).logits)
    assert not torch.allclose(told.members[0].logits, told.members[1].logits)


def test_logits_are_those_of_the_mean_probability():
    """A mean of raw logits is another pool: a teacher with large scores would own it."""
    members = [teacher(0), teacher(1), teacher(2)]
    told = EnsembleTeacher(members)(batch())
    expected = torch.stack([torch.softmax(m(batch()).logits, 1) for m in members]).mean(0)
    torch.testing.assert_close(told.logits.exp(), expected)  # probabilities as they are, no constant left over


def test_features_carry_the_members_number():
    """Two teachers of one architecture have the same paths: the second must not overwrite the first."""
    members = [teacher(0, features=("1",)), teacher(1, features=("1", "3"))]
    both = EnsembleTeacher(members)
    told = both(batch())
    assert dict(both.spec.features) == {"0:1": (6,), "1:1": (6,), "1:3": (3,)}
    assert set(told.features) == set(both.spec.features)
    torch.testing.assert_close(told.features["1:1"], members[1](batch()).features["1"])
    assert [spec.num_classes for spec in both.spec.members] == [3, 3]


def test_cached_members_give_the_same():
    """The cheap path for fixed images must not change the targets."""
    members = [teacher(0), teacher(1)]
    cached = EnsembleTeacher([CachedTeacher(m, [batch()], 5) for m in members], ["x", "y"])
    torch.testing.assert_close(cached(batch()).logits, EnsembleTeacher(members)(batch()).logits)
    assert cached.names == ("x", "y")


def test_frozen_and_counted():
    """No gradient leaves it, no training mode enters it, and its size is that of all."""
    members = [teacher(0), teacher(1, side=4)]
    both = EnsembleTeacher(members)
    assert not both(batch()).logits.requires_grad
    assert both.params == members[0].params + members[1].params
    assert not isinstance(both, nn.Module)
    assert not both.head_is_new
    members[1].head_is_new = True
    assert both.head_is_new


def test_faults_are_named():
    """No teacher; equal names of their own are numbered."""
    with pytest.raises(InputError, match="at least one, got none"):
        EnsembleTeacher([])
    assert EnsembleTeacher([teacher(0, name="r"), teacher(1, name="r")]).names == ("r", "r #2")
