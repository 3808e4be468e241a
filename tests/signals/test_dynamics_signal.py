"""Feature dynamics: at rest for equal networks, blind to what the derivative is blind to, alive in every layer."""

import pytest
import torch
from torch.nn import functional as F

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.dynamics import DynamicsConfig, delta_loss

NOW = Progress(0, 1)
NO_BATCH = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
EVEN = (0.25, 0.5, 0.75, 1.0)


def path(seed, layers=4, shape=(3, 5, 6)):
    torch.manual_seed(seed)
    return [torch.randn(shape) for _ in range(layers)]


def net(values, prefix):
    features = {f"{prefix}.{i}": x for i, x in enumerate(values)}
    return OutputSpec(3, {k: tuple(v.shape[1:]) for k, v in features.items()}), Outputs(
        torch.zeros(len(values[0]), 3), features
    )


def config(student=4, teacher=4, **more):
    more = {"start": 0.0, **more}
    return DynamicsConfig(student="b.{}", student_layers=student, teacher="t.{}", teacher_layers=teacher, **more)


def value(made, ours, theirs):
    (spec, said), (other, told) = net(ours, "b"), net(theirs, "t")
    torch.manual_seed(0)
    signal = made.build(spec, other)
    return signal(said, told, NO_BATCH, NOW), signal


def deltas(ours, theirs, compare="cosine", at=EVEN, its=EVEN):
    return delta_loss(ours, theirs, student_depths=at, teacher_depths=its, compare=compare)


@pytest.mark.parametrize("compare", ["cosine", "mse"])
def test_the_derivative_is_blind_to_a_constant_of_each_layer(compare):
    """A softmax does not see a constant added to all its scores; a loss that does fights over nothing."""
    ours, theirs = path(0), path(1)
    moved = [x + 7.0 * j for j, x in enumerate(ours)]
    torch.testing.assert_close(deltas(moved, theirs, compare), deltas(ours, theirs, compare), atol=1e-4, rtol=1e-4)
    held = [y - 3.0 * j for j, y in enumerate(theirs)]
    torch.testing.assert_close(deltas(ours, held, compare), deltas(ours, theirs, compare), atol=1e-4, rtol=1e-4)


def test_the_direction_is_blind_to_the_length_of_steps():
    """Positive scaling leaves a cosine as it is, negative turns it round; mse sees both."""
    ours, theirs = path(0), path(1)
    plain, scaled = deltas(ours, theirs), deltas([5 * x for x in ours], theirs)
    torch.testing.assert_close(scaled, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(deltas([-x for x in ours], theirs), 2 - plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(deltas([5 * x for x in ours], theirs, "mse"), deltas(ours, theirs, "mse"))


def test_derivatives_not_differences_are_compared():
    """A student of half the depth takes steps of twice the length along the same curve: nothing to correct."""
    torch.manual_seed(0)
    slope = torch.randn(3, 5, 6)
    student = [slope * depth for depth in (0.5, 1.0)]
    teacher = [slope * depth for depth in (0.75, 1.0)]  # a map that is not even
    even = deltas(student, teacher, "mse", at=(0.5, 1.0), its=(0.75, 1.0))
    torch.testing.assert_close(even, torch.zeros(3), atol=1e-8, rtol=0)
    assert (deltas(student, teacher, "mse", at=(0.5, 1.0), its=(0.5, 1.0)) > 0.1).all()


def test_the_signal_gives_both_sides_their_own_depths():
    """2 layers on 3 of 5: the teacher's second layer of the pair is deeper by another step."""
    torch.manual_seed(0)
    slope = torch.randn(3, 6)
    slope -= slope.mean(1, keepdim=True)
    student, teacher = [slope * j / 2 for j in (1, 2)], [slope * k / 5 for k in range(1, 6)]
    made = config(2, 5, projector="none", normalize=False, delta="mse")
    got, signal = value(made, student, teacher)
    assert signal.depths == ([0.5, 1.0], [0.6, 1.0])
    assert got.mean() > 1e-3
    assert signal.figures()["delta"] == pytest.approx(0, abs=1e-8)


def test_a_teacher_that_stands_still_teaches_no_direction():
    """0 over 0 is NaN; and where the student stands still its gradient is finite."""
    still, moving = [torch.ones(2, 1, 4)] * 2, path(0, 2, (2, 1, 4))
    assert deltas(moving, still, at=(0.5, 1.0), its=(0.5, 1.0)).tolist() == [0.0, 0.0]
    x = torch.ones(2, 1, 4, requires_grad=True)
    deltas([torch.ones(2, 1, 4), x], moving, at=(0.5, 1.0), its=(0.5, 1.0)).sum().backward()
    assert x.grad.isfinite().all()


def test_the_value_is_the_sum_of_both_parts():
    """The trajectory, and the derivative by its weight."""
    plain, half = (value(config(projector="none", delta_weight=w), path(0), path(1))[0] for w in (0.0, 0.5))
    pairs = [F.layer_norm(x.mean(1), (6,)) for x in path(0)], [F.layer_norm(x.mean(1), (6,)) for x in path(1)]
    by_hand = torch.stack([(a - b).square().mean(-1) for a, b in zip(*pairs)]).mean(0)
    torch.testing.assert_close(plain, by_hand)
    steps = deltas(*([x.unsqueeze(1) for x in side] for side in pairs))
    torch.testing.assert_close(half, by_hand + 0.5 * steps)


@pytest.mark.parametrize("delta_weight", [0.0, 1.0])
@pytest.mark.parametrize("space", [{"projector": "linear"}, {"projector": "orthogonal"}, {"space": "logits"}])
def test_every_layer_is_taught(delta_weight, space):
    """And the teacher is not."""
    made = config(delta_weight=delta_weight, **space)
    width = 6 if "space" in space else 8
    ours, theirs = path(0), path(1, shape=(3, 5, width))
    for x in (*ours, *theirs):
        x.requires_grad_()
    got, signal = value(made, ours, theirs)
    assert got.shape == (3,)
    got.sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in ours)
    assert all(x.grad is None for x in theirs)
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters())
    assert set(signal.figures()) == {"trajectory", "delta"} - ({"delta"} if delta_weight == 0 else set())


def test_layers_of_unlike_width_and_scores_of_unlike_classes_are_refused():
    """A difference between spaces is no derivative."""
    incomparable_reason = [torch.randn(2, 4), torch.randn(2, 5)]
    with pytest.raises(InputError, match=r"layers of one width.*\(4,\).*\(5,\)"):
        value(config(2, 2), incomparable_reason, path(0, 2, (2, 4)))
    with pytest.raises(InputError, match="scores of the same classes"):
        value(config(2, 2, space="logits"), path(0, 2, (2, 4)), path(0, 2, (2, 5)))
