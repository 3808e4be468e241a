"""Relations of predictions over a batch, by loops over pairs, and their invariances."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from stillhouse.core.checks import InputError
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


def test_what_each_relation_cannot_see():
    """Renamed classes leave samples as alike as they were; another order of samples leaves classes as they were."""
    t = scores(1)
    torch.testing.assert_close(sample_relations(t[:, [2, 0, 3, 1]], t), torch.zeros(()).double())
    torch.testing.assert_close(class_relations(t.flip(0), t), torch.zeros(()).double())
    assert sample_relations(t.flip(0), t) > 1e-3
    assert class_relations(t[:, [2, 0, 3, 1]], t) > 1e-3


def test_the_whole_is_the_mean_over_temperatures():
    """Each weight acts on its own part."""
    s, t = scores(0), scores(1)
    given = {"instance_weight": 2.0, "sample_weight": 3.0, "class_weight": 5.0}
    expected = np.mean(
        [
            2 * forward_kl(s, t, temperature=T).mean().item()
            + 3 * sample_relations(s, t, temperature=T).item()
            + 5 * class_relations(s, t, temperature=T).item()
            for T in (2.0, 4.0)
        ]
    )
    assert multi_level(s, t, temperatures=(2.0, 4.0), **given).item() == pytest.approx(expected)
    alone = multi_level(s, t, temperatures=(3.0,), sample_weight=0.0, class_weight=0.0)
    torch.testing.assert_close(alone, forward_kl(s, t, temperature=3.0).mean())
    with pytest.raises(InputError, match="one above"):
        multi_level(s, t, instance_weight=0.0, sample_weight=0.0, class_weight=0.0)
    with pytest.raises(InputError, match="expected one at least"):
        multi_level(s, t, temperatures=())
