"""Relations of predictions over a batch, by loops over pairs, and their invariances."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from stillhouse.losses import class_relations, forward_kl, multi_level, sample_relations


def scores(seed, rows=6, classes=4):
    return 2 * torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pairs(q, p):
    """Sum over pairs of rows of the squared difference of their inner products, one at a time."""
    rows = range(len(q))
    return sum((np.dot(q[i], q[j]) - np.dot(p[i], p[j])) ** 2 for i in rows for j in rows)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_pairs_of_samples_and_pairs_of_classes(temperature):
    """Swapped axes still give numbers."""
    s, t = scores(0), scores(1)
    q, p = (softmax(x.numpy() / temperature, axis=1) for x in (s, t))
    assert sample_relations(s, t, temperature=temperature).item() == pytest.approx(pairs(q, p) / 6)
    assert class_relations(s, t, temperature=temperature).item() == pytest.approx(pairs(q.T, p.T) / 4)


def test_the_whole_is_the_mean_over_temperatures():
    """Of all three parts."""
    s, t = scores(0), scores(1)
    parts = (forward_kl, sample_relations, class_relations)
    expected = np.mean([sum(loss(s, t, temperature=T).mean().item() for loss in parts) for T in (2.0, 4.0)])
    assert multi_level(s, t, temperatures=(2.0, 4.0)).item() == pytest.approx(expected)
