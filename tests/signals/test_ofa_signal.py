"""Exits of unlike stages against the teacher's scores."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.divergence import target_enhanced_kl
from stillhouse.signals.exits import OfaConfig

NOW = Progress(0, 1)
LABELS = torch.tensor([0, 1, 2, 1])
BATCH = Batch(torch.zeros(4, 1), LABELS, torch.arange(4))
SPEC = OutputSpec(3, {"map": (5, 2, 2), "tokens": (7, 6)})


def outputs():
    torch.manual_seed(0)
    features = {"map": torch.randn(4, 5, 2, 2, requires_grad=True), "tokens": torch.randn(4, 7, 6, requires_grad=True)}
    return Outputs(torch.randn(4, 3), features), Outputs(torch.randn(4, 3, requires_grad=True))


def test_every_exit_learns_the_teachers_scores():
    """The sum over exits; a gradient in each stage and in each exit, none in the teacher."""
    student, teacher = outputs()
    torch.manual_seed(1)
    signal = OfaConfig(places=("map", "tokens"), gamma=1.3, temperature=2.0).build(SPEC, SPEC)
    exits = signal.exit_logits(student)
    expected = sum(target_enhanced_kl(x, teacher.logits, LABELS, gamma=1.3, temperature=2.0) for x in exits.values())
    found = signal(student, teacher, BATCH, NOW)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in student.features.values())
    assert all(p.grad.abs().sum() > 0 for p in signal.exits.parameters())
    assert teacher.logits.grad is None


def test_a_cache_of_the_largest_scores_is_refused():
    """The enhancement reads all."""
    with pytest.raises(InputError, match="holds the 2 largest"):
        OfaConfig(places=("map",)).build(SPEC, OutputSpec(3, kept=2))
