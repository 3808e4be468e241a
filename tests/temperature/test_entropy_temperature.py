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
from stillhouse.temperature.given import temperature_of_entropy

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
    with pytest.raises(InputError, match="at least 2 classes"):
        EntropyTemperature().build(OutputSpec(1), OutputSpec(1))
    with pytest.raises(ValueError, match="high: expected more than low"):
        EntropyTemperature(low=5.0, high=2.0)
