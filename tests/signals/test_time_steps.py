"""Scores at every time step: what theory says of their mean, and who gets a gradient."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl
from stillhouse.signals.time_steps import TimeStepsConfig

NOW, B, T, K = Progress(0, 1), 4, 3, 5
LABELS = torch.tensor([0, 4, 2, 2])
BATCH = Batch(torch.zeros(B, 1), LABELS, torch.arange(B))


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss(x, teacher, **given):
    layout = given.pop("layout", "btd")
    spec = OutputSpec(K, {"head": tuple(x.shape[1:])})
    signal = TimeStepsConfig(student="head", layout=layout, **given).build(spec, OutputSpec(K))
    return signal(Outputs(teacher, {"head": x}), Outputs(teacher), BATCH, NOW)


def test_the_mean_over_steps_in_any_layout():
    """Time and batch swapped still give numbers."""
    x, teacher = draw(0, B, T, K).requires_grad_(), draw(1, B, K)
    expected = torch.stack([forward_kl(x[:, t], teacher, temperature=3.0) for t in range(T)]).mean(0)
    for layout, given in (("btd", x), ("tbd", x.transpose(0, 1)), ("bdt", x.transpose(1, 2))):
        torch.testing.assert_close(loss(given, teacher, layout=layout, temperature=3.0), expected)
    (gradient,) = torch.autograd.grad(loss(x, teacher).sum(), x)
    assert (gradient.abs().sum((0, 2)) > 0).all()


def test_it_bounds_the_divergence_of_the_mean_scores():
    """By convexity; equal only where all steps say the same."""
    x, teacher = draw(0, B, T, K), draw(1, B, K)
    assert (loss(x, teacher) > forward_kl(x.mean(1), teacher, temperature=2.0)).all()
    same = x[:, :1].expand(-1, T, -1)
    torch.testing.assert_close(loss(same, teacher), forward_kl(same[:, 0], teacher, temperature=2.0))


def test_features_are_read_by_one_learned_map_for_all_steps():
    """And what the student answers after t steps is validated."""
    x, teacher = draw(0, B, T, 7), draw(1, B, K)
    spec = OutputSpec(K, {"head": (T, 7)})
    torch.manual_seed(0)
    signal = TimeStepsConfig(student="head", read="linear").build(spec, OutputSpec(K))
    out = Outputs(teacher, {"head": x})
    signal(out, Outputs(teacher), BATCH, NOW).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters())
    early = signal.exit_logits(out)
    assert list(early) == ["head@1", "head@2", "head@3"]
    torch.testing.assert_close(early["head@2"], signal.reader(x)[:, :2].mean(1))
    with pytest.raises(InputError, match="take read: linear"):
        TimeStepsConfig(student="head").build(spec, OutputSpec(K))
    with pytest.raises(InputError, match="expected \\(T, D\\)"):
        TimeStepsConfig(student="head").build(OutputSpec(K, {"head": (K,)}), OutputSpec(K))
