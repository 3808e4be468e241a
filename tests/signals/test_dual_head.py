"""A head for the teacher's scores beside the student's own: each loss reaches its head only, both reach the body."""

import math

import pytest
import torch
from scipy.special import expit, rel_entr
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses import label_cross_entropy
from stillhouse.signals.dual_head import DualHeadConfig, binary_kl

NOW = Progress(0, 1)


def logits(seed, rows=5, classes=4):
    torch.manual_seed(seed)
    return 2 * torch.randn(rows, classes, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("norm", [False, True])
def test_values_equal_scipys(temperature, norm):
    """Bernoulli by Bernoulli, summed over classes, times T^2 once."""
    s, t = logits(0), logits(1)
    p, q = expit(t.numpy() / temperature), expit(s.numpy() / temperature)
    if norm:
        p, q = 0 * p + 0.5, expit((s - t).numpy() / temperature)
    expected = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(1) * temperature**2
    torch.testing.assert_close(binary_kl(s, t, temperature=temperature, norm=norm), torch.tensor(expected))


@pytest.mark.parametrize("norm", [False, True])
def test_gradients_are_the_closed_ones(norm):
    """T (sigma(z_s/T) - sigma(z_t/T)), or T (sigma((z_s - z_t)/T) - 1/2); none to the teacher."""
    s, t, hot = logits(0).requires_grad_(), logits(1).requires_grad_(), 3.0
    binary_kl(s, t, temperature=hot, norm=norm).sum().backward()
    plain = hot * (torch.sigmoid(s / hot) - torch.sigmoid(t / hot))
    gap = hot * (torch.sigmoid((s - t) / hot) - 0.5)
    torch.testing.assert_close(s.grad, (gap if norm else plain).detach())
    assert t.grad is None


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_class_that_the_teacher_rules_out_is_a_sure_no(temperature):
    """0 ln 0 is 0: KL(Bernoulli(0) || sigma(z/T)) = ln(1 + e^(z/T)), with gradient T sigma(z/T); it was NaN. A sure yes too."""
    s = torch.tensor([[0.5, -1.0], [2.0, 0.0]], requires_grad=True)
    t = torch.tensor([[-math.inf, -1.0], [math.inf, 0.0]])
    value = binary_kl(s, t, temperature=temperature)
    expected = [math.log1p(math.exp(0.5 / temperature)), math.log1p(math.exp(-2.0 / temperature))]
    torch.testing.assert_close(value, temperature**2 * torch.tensor(expected))
    value.sum().backward()
    slopes = torch.tensor([[expit(0.5 / temperature), 0.0], [-expit(-2.0 / temperature), 0.0]]).float()
    torch.testing.assert_close(s.grad, temperature * slopes)
    out = torch.tensor([[-math.inf, 0.0]])
    assert binary_kl(out, out).item() == 0  # both rule it out
    assert binary_kl(out, torch.zeros(1, 2)).item() == math.inf  # as every KL: the student alone
    assert binary_kl(torch.tensor([[math.nan, 0.0]]), out).isnan()


def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 4))


@pytest.mark.parametrize("loss", ["binary-kl-norm", "binary-kl", "forward-kl"])
def test_each_loss_reaches_its_own_head_and_both_the_body(loss):
    """On one head the two losses fight, which is the reason for the second."""
    model, inputs, labels = student(), torch.rand(8, 1, 3, 3), torch.arange(8) % 4
    config = DualHeadConfig(student="2", loss=loss)
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


def test_faults_are_named_and_nan_comes_out():
    """A broadcast (5, 4) against (1, 4) would learn one row."""
    with pytest.raises(InputError, match=r"expected shape \(5, 4\), got \(1, 4\)"):
        binary_kl(logits(0), logits(1)[:1])
    with pytest.raises(InputError, match=r"logits: expected \(B, K\)"):
        binary_kl(logits(0)[0], logits(1)[0])
    with pytest.raises(InputError, match="temperature: expected positive"):
        binary_kl(logits(0), logits(1), temperature=0.0)
    with pytest.raises(InputError, match="student has 4, teacher 5"):
        DualHeadConfig(student="2").build(OutputSpec(4, {"2": (6,)}), OutputSpec(5))
    with pytest.raises(InputError, match="student feature '7'"):
        DualHeadConfig(student="7").build(OutputSpec(4, {"2": (6,)}), OutputSpec(4))
    broken = logits(1)
    broken[2, 0] = torch.nan
    assert binary_kl(logits(0), broken).isnan().tolist() == [False, False, True, False, False]
