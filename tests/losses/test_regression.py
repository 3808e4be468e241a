"""Distances of features and of raw logits."""

import math

import pytest
import torch

from stillhouse.losses.regression import cosine_distance, mse, mse_logits, smooth_l1


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance])
def test_feature_distances_give_one_number_a_sample(distance):
    """Zero for equals, and a batch is the list of its samples."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 3, 6), torch.randn(4, 3, 6)
    torch.testing.assert_close(distance(a, a), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(distance(a, b), torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(4)]))


def test_feature_distances_equal_torchs():
    """An independent implementation of the same formulas."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), 3 * torch.randn(4, 6)
    torch.testing.assert_close(mse(a, b).mean(), torch.nn.functional.mse_loss(a, b))
    torch.testing.assert_close(smooth_l1(a, b).mean(), torch.nn.functional.smooth_l1_loss(a, b))
    cosine = torch.nn.functional.cosine_embedding_loss(a, b, torch.ones(4))
    torch.testing.assert_close(cosine_distance(a, b).mean(), cosine)


def test_only_the_centred_form_ignores_a_constant_added_to_a_row():
    """No softmax sees it, so the hot limit of KL is the centred form; the raw one trains towards the offset."""
    torch.manual_seed(0)
    s, t = torch.randn(3, 5), torch.randn(3, 5)
    torch.testing.assert_close(mse_logits(s + 4, t, centered=True), mse_logits(s, t, centered=True))
    assert (mse_logits(s + 4, t) > mse_logits(s, t)).all()


RAW = {
    "mse": mse_logits,
    "centered": lambda s, t: mse_logits(s, t, centered=True),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("ours", [0.7, -math.inf])
def test_raw_scores_of_a_class_that_the_teacher_rules_out_are_not_compared(name, ours):
    """-inf is no score to be matched: the value was infinite or NaN; it is that of the classes that are left."""
    torch.manual_seed(0)
    s, t = torch.randn(3, 5), torch.randn(3, 5)
    expected = torch.stack([RAW[name](s[:1, 1:], t[:1, 1:])[0], *RAW[name](s[1:], t[1:])])
    s[0, 0], t[0, 0] = ours, -math.inf
    s.requires_grad_()
    value = RAW[name](s, t)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    assert s.grad[0, 0] == 0
    assert torch.isfinite(s.grad).all()
    assert (s.grad[1:].abs().sum(1) > 0).all()
