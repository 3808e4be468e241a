"""Cached top-k targets: what the bucket of the rest guarantees, and what renormalizing does."""

import math

import pytest
import torch
from scipy.special import rel_entr

from stillhouse.core.checks import InputError
from stillhouse.losses import forward_kl, topk_kl

B, V = 6, 19


def logits(seed, scale=2.0, dtype=torch.float64):
    torch.manual_seed(seed)
    return (scale * torch.randn(B, V, dtype=torch.float64)).to(dtype)


def kept(teacher, k, temperature=1.0):
    top = torch.log_softmax(teacher / temperature, 1).topk(k, dim=1)
    return top.indices, top.values


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_all_classes_kept_is_the_full_kl(temperature):
    """In value and gradient."""
    s, t = logits(0).requires_grad_(), logits(1)
    value = topk_kl(s, *kept(t, V, temperature), temperature=temperature)
    expected = forward_kl(s, t, temperature=temperature)
    torch.testing.assert_close(value, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(*(torch.autograd.grad(x.sum(), s)[0] for x in (value, expected)), atol=1e-10, rtol=0)


@pytest.mark.parametrize("k", [1, 3, 18])
def test_a_bucket_is_one_class_more(k):
    """The (k+1)-way KL by scipy."""
    s, t = logits(0), logits(1)
    ids, log_p = kept(t, k)
    q = torch.softmax(s, 1).gather(1, ids)
    two = [torch.cat([x, 1 - x.sum(1, keepdim=True)], 1).numpy() for x in (log_p.exp(), q)]
    torch.testing.assert_close(topk_kl(s, ids, log_p), torch.tensor(rel_entr(*two).sum(1)), rtol=1e-9, atol=1e-12)


def test_the_bucket_never_exceeds_the_full_kl_and_grows_with_k():
    """Joining classes can only lose difference."""
    s, t = logits(0), logits(1)
    values = torch.stack([topk_kl(s, *kept(t, k)) for k in range(1, V + 1)])
    assert (values.diff(dim=0) > -1e-12).all()
    assert (values <= forward_kl(s, t) + 1e-12).all()
    assert (values[0] < forward_kl(s, t) - 1e-3).all()


def test_equal_where_the_tails_are_proportional():
    """The bound is tight just there."""
    s, t = logits(0), logits(1)
    ids, log_p = kept(t, 4)
    tails = t - torch.logsumexp(t.scatter(1, ids, -math.inf), 1, keepdim=True)
    s = tails.scatter(1, ids, s.gather(1, ids))
    torch.testing.assert_close(topk_kl(s, ids, log_p), forward_kl(s, t), atol=1e-10, rtol=0)


def test_the_bucket_is_at_rest_where_student_is_teacher_and_renormalizing_is_not():
    """Renormalized targets push a perfect student on: it becomes surer than its teacher."""
    t = logits(1)
    for tail, rests in ((True, True), (False, False)):
        s = t.clone().requires_grad_()
        value = topk_kl(s, *kept(t, 3), tail=tail)
        (gradient,) = torch.autograd.grad(value.sum(), s)
        assert bool((value.abs() < 1e-12).all()) is rests
        assert bool((gradient.abs() < 1e-12).all()) is rests
    missing = -torch.logsumexp(kept(t, 3)[1], dim=1)
    torch.testing.assert_close(topk_kl(t, *kept(t, 3), tail=False), missing)


def test_a_rest_below_float32_is_neither_lost_nor_infinite():
    """1 - sum q rounds to 0 in float32; a rest of the teacher that is all rounding must not meet a student's zero."""
    s = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    value = topk_kl(s, torch.tensor([[0]]), torch.tensor([[0.5]]).log())
    value.sum().backward()
    exact = 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - (math.log(2) - 40))
    assert value.item() == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(s.grad, torch.tensor([[0.5, -0.25, -0.25]]))
    t = logits(1, dtype=torch.float32)
    t[:, 5:] = -math.inf
    both = logits(0, dtype=torch.float32)
    both[:, 5:] = -math.inf
    torch.testing.assert_close(topk_kl(both, *kept(t, 5)), forward_kl(both, t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ids", "log_p", "words"),
    [
        (torch.zeros(B, 2, dtype=torch.int64), torch.zeros(B, 2), "sum of 2"),
        (torch.full((B, 1), V), torch.full((B, 1), -1.0), f"from 0 to {V - 1}"),
        (torch.zeros(B, 0, dtype=torch.int64), torch.zeros(B, 0), "expected 1 to 19"),
        (torch.zeros(B - 1, 2, dtype=torch.int64), torch.zeros(B - 1, 2), "got"),
        (torch.zeros(B, 2, dtype=torch.int64), torch.zeros(B, 3), r"expected shape \(6, 2\), got \(6, 3\)"),
    ],
)
def test_targets_that_cannot_be_are_refused(ids, log_p, words):
    """Logits given for log-probabilities, ids of another vocabulary."""
    with pytest.raises(InputError, match=words):
        topk_kl(logits(0), ids, log_p)
