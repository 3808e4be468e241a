"""High temperatures in float32, against the limits of theory: T^2 KL of near distributions is a difference of near numbers."""

import pytest
import torch

from stillhouse.losses.divergence import (
    decoupled_kl,
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
)
from stillhouse.losses.top_k import Scores, scores_kl

HOT = 1000.0


def logits(seed, classes, rows=64):
    torch.manual_seed(seed)
    return 3 * torch.randn(rows, classes)


def limit(s, t):
    """(B,) half the mean squared difference of centred scores: what T^2 KL tends to, in either direction."""
    apart = (s - s.mean(1, keepdim=True) - t + t.mean(1, keepdim=True)).double()
    return apart.square().mean(1) / 2


LIMITS = {  # share of the limit, by the second derivative of each divergence at p = q
    forward_kl: 1.0,
    reverse_kl: 1.0,
    symmetric_kl: 1.0,
    generalized_js: 0.25,
    lambda s, t, **k: generalized_js(s, t, beta=0.1, normalized=True, **k): 1.0,
    lambda s, t, **k: skew_forward_kl(s, t, skew=0.1, **k): 0.81,
    lambda s, t, **k: skew_reverse_kl(s, t, skew=0.1, **k): 0.81,
}


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("loss", LIMITS, ids=range(len(LIMITS)))
def test_the_hot_limit_is_reached_in_single_precision(loss, classes):
    """Rows were off by up to 13 % at T = 1000, which the page permits."""
    s, t = logits(0, classes), logits(1, classes)
    found = loss(s, t, temperature=HOT)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), LIMITS[loss] * limit(s, t), rtol=1e-2, atol=1e-4)  # the limit's own 1/T
    exact = loss(s.double(), t.double(), temperature=HOT)
    torch.testing.assert_close(found.double(), exact, rtol=2e-3 if classes == 2 else 2e-4, atol=1e-6)


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_brothers_of_that_formula_are_as_exact(classes):
    """It sums the same near numbers."""
    s, t = logits(0, classes), logits(1, classes)
    labels = torch.arange(len(s)) % classes
    decoupled = [decoupled_kl(a, b, labels, temperature=HOT) for a, b in ((s, t), (s.double(), t.double()))]
    torch.testing.assert_close(decoupled[0].double(), decoupled[1], rtol=2e-4, atol=1e-6)


def test_kept_scores_at_a_high_temperature():
    """A cache of the largest scores, at a temperature that is applied later."""
    s, t = logits(0, 50), logits(1, 50)
    values, ids = t.topk(50, 1)
    for x, wide in ((s, torch.float32), (s.double(), torch.float64)):
        scores = Scores(ids, (values - values[:, :1]).to(wide), torch.zeros(len(s), 1, dtype=wide), (1.0,), 0)
        found = scores_kl(x, scores, HOT)
        torch.testing.assert_close(found.double(), limit(s, t), rtol=1e-2, atol=1e-4)
