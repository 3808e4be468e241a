"""Neighbor losses: against scikit-learn, closed forms, and what they must not see."""

import math

import numpy as np
import pytest
import torch
from sklearn.manifold._utils import _binary_search_perplexity

from stillhouse.core.checks import InputError
from stillhouse.losses.neighbours import cosine_neighbor_kl, neighbor_kl, row_log_probabilities, squared_distances


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def rotation(width, seed=1):
    return torch.linalg.qr(rows(width, width, seed).double())[0].float()


def entropy(log_p):
    return -(log_p.exp() * log_p.clamp(min=-1e30)).sum(1)


@pytest.mark.parametrize("perplexity", [2.0, 10.0, 30.0])
def test_bandwidths_are_those_of_scikit_learn(perplexity):
    """A bisection that stops early gives every row another perplexity."""
    distances = squared_distances(rows(50, 8)).fill_diagonal_(math.inf)
    log_p, _ = row_log_probabilities(distances, perplexity)
    assert torch.allclose(entropy(log_p).exp(), torch.tensor(perplexity), rtol=1e-4)
    others = distances[~torch.eye(50, dtype=torch.bool)].reshape(50, 49).numpy()
    theirs = _binary_search_perplexity(others, perplexity, 0)
    ours = log_p.exp()[~torch.eye(50, dtype=torch.bool)].reshape(50, 49).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_it_is_the_kl_of_two_explicit_distributions():
    """In float64, with numpy: a wrong tail exponent or a counted diagonal shows."""
    s, t = rows(12, 3).double(), rows(12, 7, 1).double()
    got = neighbor_kl(s, t, perplexity=4.0, degrees=3.0)
    log_p, _ = row_log_probabilities(squared_distances(t).fill_diagonal_(math.inf), 4.0)
    for i in range(12):
        others = [j for j in range(12) if j != i]
        q = np.array([(1 + float((s[i] - s[j]).square().sum()) / 3) ** -2 for j in others])
        p = log_p[i, others].exp().numpy()
        assert got[i].item() == pytest.approx(float((p * np.log(p / (q / q.sum()))).sum()), rel=1e-6)


@pytest.mark.parametrize("loss", [neighbor_kl, cosine_neighbor_kl])
def test_rotation_and_order_change_nothing(loss):
    """A loss tied to coordinates is no relational one."""
    s, t = rows(30, 5), rows(30, 16, 1)
    said = loss(s, t)
    assert (said > 0).all()
    for other in (loss(s @ rotation(5), t), loss(s, t @ rotation(16)), loss(s, t[:, torch.randperm(16)])):
        assert torch.allclose(other, said, atol=1e-4)
    order = torch.randperm(30)
    assert torch.allclose(loss(s[order], t[order]), said[order], atol=1e-5)


def test_temperature_and_perplexity_turn_the_gradient():
    """The curriculum of the founding document changed nothing."""
    s, t = rows(64, 5), rows(64, 32, 1)

    def direction(loss, **settings):
        x = s.clone().requires_grad_()
        loss(x, t, **settings).mean().backward()
        return torch.nn.functional.normalize(x.grad.flatten(), dim=0)

    for loss, name, high, low in ((cosine_neighbor_kl, "tau", 4.0, 0.1), (neighbor_kl, "perplexity", 40.0, 3.0)):
        assert direction(loss, **{name: high}) @ direction(loss, **{name: low}) < 0.98


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perplexity": 9.5}, "perplexity: expected 1 to the number of candidates"),
        ({"perplexity": 0.5}, "perplexity"),
        ({"perplexity": 5.0, "nearest": 3}, "number of candidates"),
        ({"perplexity": 3.0, "degrees": 0.0}, "degrees"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    """A perplexity that cannot be reached would quietly become another."""
    with pytest.raises(InputError, match=message):
        neighbor_kl(rows(10, 3), rows(10, 6), **settings)


def test_batches_without_relations_are_refused():
    """Two rows: the only other one has probability 1 on both sides, gradient 0, forever."""
    for loss in (neighbor_kl, cosine_neighbor_kl):
        with pytest.raises(InputError, match="at least 3 samples, got 2"):
            loss(rows(2, 5), rows(2, 8))
