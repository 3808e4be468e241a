"""A head for the teacher's scores beside the student's own: each loss reaches its head only, both reach the body."""

import math

import pytest
import torch
from scipy.special import expit, rel_entr
from torch import nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.signals.exits import DualHeadConfig, binary_kl

NOW = Progress(0, 1)


def logits(seed, rows=5, classes=4):
    torch.manual_seed(seed)
    return 2 * torch.randn(rows, classes, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_values_equal_scipys_and_gradients_are_the_closed_ones(temperature):
    """Bernoulli by Bernoulli, summed over classes, times T^2 once; T (sigma((z_s - z_t)/T) - 1/2), none to the teacher."""
    s, t = logits(0).requires_grad_(), logits(1).requires_grad_()
    q = expit((s - t).detach().numpy() / temperature)
    expected = 2 * (rel_entr(0.5, q) + rel_entr(0.5, 1 - q)).sum(1) * temperature**2 / 2
    found = binary_kl(s, t, temperature=temperature)
    torch.testing.assert_close(found.detach(), torch.tensor(expected))
    found.sum().backward()
    torch.testing.assert_close(s.grad, temperature * (torch.tensor(q) - 0.5))
    assert t.grad is None


def test_a_class_that_the_teacher_rules_out_adds_nothing():
    """It has no gap; a student's NaN stays one."""
    out, s = torch.tensor([[-math.inf, 0.0]]), torch.tensor([[3.0, 0.0]], requires_grad=True)
    value = binary_kl(s, out)
    value.sum().backward()
    assert value.item() == 0
    assert (s.grad == 0).all()
    assert binary_kl(torch.tensor([[math.nan, 0.0]]), out).isnan()


def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 4))


def test_each_loss_reaches_its_own_head_and_both_the_body():
    """On one head the two losses fight, which is the reason for the second."""
    model, inputs, labels = student(), torch.rand(8, 1, 3, 3), torch.arange(8) % 4
    config = DualHeadConfig(student="2")
    extractor = FeatureExtractor(model, config.student_paths)
    signal = config.build(extractor.spec(inputs), OutputSpec(4))
    batch, told = Batch(inputs, labels, labels), Outputs(logits(3, 8).float())
    value = signal(extractor(inputs), told, batch, NOW)
    assert value.shape == (8,)
    value.mean().backward()
    assert model[3].weight.grad is None
    assert signal.head.weight.grad.abs().sum() > 0
    body = model[1].weight.grad.clone()
    assert body.abs().sum() > 0
    signal.zero_grad()
    label_cross_entropy(extractor(inputs).logits, labels).mean().backward()
    assert signal.head.weight.grad is None or signal.head.weight.grad.abs().sum() == 0
    assert model[3].weight.grad.abs().sum() > 0
    assert not torch.allclose(model[1].weight.grad, body)
