"""The temperature of a chosen entropy, against scipy's entropy and a closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from stillhouse.core.checks import InputError
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.temperature import EntropyTemperature
from stillhouse.temperature.entropy import temperature_of_entropy

NOW = Progress(0, 1)


def logits(seed, rows=16, classes=10, scale=5.0):
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("scale", [2.0, 20.0])
def test_softened_teachers_have_the_target_entropy(share, scale):
    """In nats, by scipy; a share of the wrong logarithm would miss by 1.44."""
    z = logits(0, scale=scale)
    hot = EntropyTemperature(share=share, low=1e-3, high=1e4).build(OutputSpec(10), OutputSpec(10))(z, z, NOW)
    reached = entropy(softmax(z.double().numpy() / hot.double().numpy()[:, None], axis=1), axis=1)
    np.testing.assert_allclose(reached, share * math.log(10), atol=1e-3)
    assert not hot.requires_grad


def test_two_classes_have_a_closed_form():
    """Distribution (a, 1 - a) is reached where z / T = ln(a / (1 - a))."""
    z = torch.tensor([[3.0, 0.0], [0.0, 11.0]], dtype=torch.float64)
    for a in (0.6, 0.9):
        target = -a * math.log(a) - (1 - a) * math.log(1 - a)
        hot = temperature_of_entropy(z, target=target, low=0.01, high=1000.0)
        expected = torch.tensor([3.0, 11.0], dtype=torch.float64) / math.log(a / (1 - a))
        torch.testing.assert_close(hot, expected, rtol=1e-6, atol=0)


def test_bounds_stop_it():
    """A teacher that is unsure already needs less than `low`, a one-hot one more than `high`."""
    z = torch.stack([torch.linspace(0, 0.01, 10), 1e4 * torch.eye(10)[0], torch.zeros(10)])
    matching = EntropyTemperature(share=0.5, low=1.0, high=8.0).build(OutputSpec(10), OutputSpec(10))
    assert matching(z, z, NOW).tolist() == pytest.approx([1.0, 8.0, 1.0])
    assert matching.figures()["temperature-at-bound"] == 1.0


def test_sure_teachers_are_softened_more():
    """The logits twice as large need twice the temperature: the entropy sees only their ratio."""
    z = logits(1)
    settings = {"target": 1.0, "low": 1e-3, "high": 1e3}
    torch.testing.assert_close(
        temperature_of_entropy(2 * z, **settings), 2 * temperature_of_entropy(z, **settings), rtol=1e-4, atol=0
    )


def test_ruled_out_classes_and_broken_rows_give_finite_temperatures():
    """-inf counts as a class of probability 0; NaN is left to the loss."""
    z = logits(2, rows=3)
    z[0, 4], z[1, 0] = -math.inf, math.nan
    hot = temperature_of_entropy(z, target=1.0, low=0.1, high=50.0)
    assert hot.isfinite().all()
    without = temperature_of_entropy(torch.cat([z[:1, :4], z[:1, 5:]], dim=1), target=1.0, low=0.1, high=50.0)
    torch.testing.assert_close(hot[:1], without)


def test_senseless_requests_are_refused():
    """By name."""
    with pytest.raises(InputError, match="target: expected an entropy from 0 to ln K"):
        temperature_of_entropy(logits(0), target=5.0, low=1.0, high=2.0)
    with pytest.raises(InputError, match=r"logits: expected \(B, K\)"):
        temperature_of_entropy(torch.zeros(3), target=0.5, low=1.0, high=2.0)
    with pytest.raises(InputError, match="low, high"):
        temperature_of_entropy(logits(0), target=0.5, low=2.0, high=2.0)
    with pytest.raises(InputError, match="at least 2 classes"):
        EntropyTemperature().build(OutputSpec(1), OutputSpec(1))
    with pytest.raises(ValueError, match="high: expected more than low"):
        EntropyTemperature(low=5.0, high=2.0)
