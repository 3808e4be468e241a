"""Distances of features and of raw logits."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses import cosine_distance, mse, mse_logits, smooth_l1


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance])
def test_feature_distances_give_one_number_a_sample(distance):
    """Zero for equals, and a batch is the list of its samples."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 3, 6), torch.randn(4, 3, 6)
    torch.testing.assert_close(distance(a, a), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(distance(a, b), torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(4)]))
    with pytest.raises(InputError, match="teacher features"):
        distance(a, b[:, :2])


def test_feature_distances_equal_torchs():
    """An independent implementation of the same formulas."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), 3 * torch.randn(4, 6)
    torch.testing.assert_close(mse(a, b).mean(), torch.nn.functional.mse_loss(a, b))
    torch.testing.assert_close(smooth_l1(a, b).mean(), torch.nn.functional.smooth_l1_loss(a, b))
    cosine = torch.nn.functional.cosine_embedding_loss(a, b, torch.ones(4))
    torch.testing.assert_close(cosine_distance(a, b).mean(), cosine)


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance, mse_logits])
def test_teacher_features_get_no_gradient(distance):
    """Else a learned projector on the teacher's side would collapse both to a constant."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    distance(a, b).sum().backward()
    assert b.grad is None
    assert a.grad.abs().sum() > 0


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance])
def test_bf16_features_are_summed_in_float32(distance):
    """A mean over ten thousand bf16 numbers stops growing long before its end."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 100, 100).bfloat16(), torch.randn(2, 100, 100).bfloat16()
    torch.testing.assert_close(distance(a, b).double(), distance(a.double(), b.double()), atol=1e-3, rtol=1e-3)


def test_only_the_centred_form_ignores_a_constant_added_to_a_row():
    """No softmax sees it, so the hot limit of KL is the centred form; the raw one trains towards the offset."""
    torch.manual_seed(0)
    s, t = torch.randn(3, 5), torch.randn(3, 5)
    torch.testing.assert_close(mse_logits(s + 4, t, centered=True), mse_logits(s, t, centered=True))
    assert (mse_logits(s + 4, t) > mse_logits(s, t)).all()
