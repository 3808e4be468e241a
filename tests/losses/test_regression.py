"""Distances of features and of raw logits."""

import math

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses import cosine_distance, cosine_logits, mse, mse_logits, normalized_mse, smooth_l1


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


RAW = {
    "mse": mse_logits,
    "centered": lambda s, t: mse_logits(s, t, centered=True),
    "cosine": cosine_logits,
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


def test_raw_scores_that_are_left_have_their_closed_forms():
    """(1 + 9) / 2, the same about its mean -1, and (1, 3) against (3, 1)."""
    s, t = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[0.0, 0.0, -math.inf]])
    assert mse_logits(s, t).item() == pytest.approx(5.0)
    assert mse_logits(s, t, centered=True).item() == pytest.approx(1.0)
    assert cosine_logits(s, torch.tensor([[3.0, 1.0, -math.inf]])).item() == pytest.approx(1 - 6 / 10)


@pytest.mark.parametrize("name", RAW)
def test_a_broken_student_is_not_hidden_by_a_ruled_out_class(name):
    """The training loop stops on a NaN, if it sees it; a class that only the student rules out is no match either."""
    t = torch.tensor([[0.0, 1.0, -math.inf], [0.0, 1.0, 2.0]])
    assert RAW[name](torch.tensor([[1.0, 2.0, math.nan], [1.0, 2.0, 3.0]]), t).isnan().tolist() == [True, False]
    assert not torch.isfinite(RAW[name](torch.tensor([[1.0, -math.inf, 0.0], [1.0, 2.0, -math.inf]]), t)).any()
    assert not torch.isfinite(mse_logits(torch.zeros(1, 2), torch.full((1, 2), -math.inf)))  # nothing left to match


def test_cosine_of_scores_is_that_of_features():
    """Where no class is ruled out."""
    torch.manual_seed(0)
    s, t = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(cosine_logits(s, t), cosine_distance(s, t))
    with pytest.raises(InputError, match=r"logits: expected \(B, K\), got \(4, 2, 3\)"):
        cosine_logits(s.reshape(4, 2, 3), t.reshape(4, 2, 3))


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance, normalized_mse])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 2, 4), (3, 0, 4), (4,)])
def test_features_of_nothing_are_refused(distance, shape):
    """An empty batch ended in a reshape; a width of 0 has a cosine distance of 1 and nothing to learn."""
    with pytest.raises(InputError, match=r"features: expected \(B, \.\.\., D\) with at least one number, got"):
        distance(torch.zeros(shape), torch.zeros(shape))
