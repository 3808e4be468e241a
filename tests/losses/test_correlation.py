"""Relations of scores against scipy's Pearson and their invariances."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import pearsonr

from stillhouse.core.checks import InputError
from stillhouse.losses.correlation import dist_inter, dist_intra, dist_relations, pearson_distance


def vectors(seed, rows=5, classes=7, scale=1.0):
    torch.manual_seed(seed)
    return scale * torch.randn(rows, classes, dtype=torch.float64)


def test_distance_is_1_minus_scipys_correlation():
    """Any slip in the centring shows."""
    a, b = vectors(0), vectors(1)
    expected = [1 - pearsonr(x, y).statistic for x, y in zip(a.numpy(), b.numpy())]
    torch.testing.assert_close(pearson_distance(a, b), torch.tensor(expected))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_inter_is_over_classes_and_intra_over_samples(temperature):
    """Swapped axes still give numbers. Of probabilities, not of logits."""
    s, t = vectors(0), vectors(1)
    q, p = (softmax(x.numpy() / temperature, axis=1) for x in (s, t))
    inter = [1 - pearsonr(x, y).statistic for x, y in zip(q, p)]
    intra = [1 - pearsonr(x, y).statistic for x, y in zip(q.T, p.T)]
    torch.testing.assert_close(dist_inter(s, t, temperature=temperature), torch.tensor(inter))
    assert dist_intra(s, t, temperature=temperature).item() == pytest.approx(np.mean(intra))
    both = dist_relations(s, t, temperature=temperature, inter_weight=2.0, intra_weight=3.0)
    assert both.item() == pytest.approx(2 * np.mean(inter) + 3 * np.mean(intra))


def test_affine_maps_change_nothing_and_a_negative_one_is_the_opposite():
    """Zero if and only if one is a rising affine function of the other."""
    a, b = vectors(0), vectors(1)
    scale, shift = torch.rand(5, 1, dtype=torch.float64) + 0.1, vectors(2)[:, :1]
    torch.testing.assert_close(pearson_distance(scale * a + shift, b), pearson_distance(a, b))
    torch.testing.assert_close(pearson_distance(scale * b + shift, b), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(pearson_distance(-b, b), torch.full((5,), 2.0, dtype=torch.float64))
    assert (pearson_distance(a, b) > 0.01).all()


@pytest.mark.parametrize("batch", [1, 2])
def test_too_few_samples_for_a_relation_are_refused(batch):
    """Two points always lie on a line: the loss would be 0 or 2 whatever the student says."""
    with pytest.raises(InputError, match=f"at least 3 samples, got {batch}"):
        dist_relations(vectors(0, batch), vectors(1, batch))
    assert dist_relations(vectors(0, batch), vectors(1, batch), intra_weight=0.0) > 0


def test_vectors_of_equal_numbers_have_a_defined_result():
    """A teacher without a relation teaches none; a student without one is drawn to the teacher's; never NaN."""
    flat = torch.full((1, 7), 0.1)
    x = torch.randn(1, 7, requires_grad=True)
    value = pearson_distance(x, flat)
    value.sum().backward()
    assert (value.item(), x.grad.abs().max().item()) == (0, 0)
    ours, theirs = flat.clone().requires_grad_(), torch.randn(1, 7)
    value = pearson_distance(ours, theirs)
    value.sum().backward()
    assert value.item() == pytest.approx(1, abs=1e-5)
    centered = theirs - theirs.mean()
    assert torch.cosine_similarity(-ours.grad, centered).item() == pytest.approx(1, abs=1e-4)
    assert pearson_distance(flat, flat).item() == 0
