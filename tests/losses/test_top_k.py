"""Cached top-k targets: what the bucket of the rest guarantees."""

import math

import pytest
import torch
from scipy.special import rel_entr

from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.top_k import Scores, scores_kl

B, V = 6, 19


def logits(seed, scale=2.0):
    torch.manual_seed(seed)
    return scale * torch.randn(B, V)


def kept(teacher, k):
    """What a cache holds: the k largest, less the largest, and the mass of the others at temperature 1."""
    z = teacher - teacher.amax(1, keepdim=True)
    top = z.topk(k, dim=1)
    rest = z.scatter(1, top.indices, -torch.inf).logsumexp(1, keepdim=True).clamp(min=-3e4)
    return Scores(top.indices, top.values, rest, (1.0,), V - k)


@pytest.mark.parametrize("k", [1, 3, 18])
def test_a_bucket_is_one_class_more(k):
    """The (k+1)-way KL by scipy."""
    s, t = logits(0), logits(1)
    ids = t.topk(k, 1).indices
    both = (torch.softmax(x.double(), 1).gather(1, ids) for x in (t, s))
    p, q = (torch.cat([x, 1 - x.sum(1, keepdim=True)], 1).numpy() for x in both)
    expected = torch.tensor(rel_entr(p, q).sum(1)).float()
    torch.testing.assert_close(scores_kl(s, kept(t, k), 1.0), expected, rtol=1e-3, atol=1e-6)


def test_the_bucket_never_exceeds_the_full_kl_grows_with_k_and_is_all_of_it_at_the_end():
    """Joining classes can only lose difference."""
    s, t = logits(0), logits(1)
    values = torch.stack([scores_kl(s, kept(t, k), 1.0) for k in range(1, V + 1)])
    assert (values.diff(dim=0) > -1e-3).all()
    assert (values <= forward_kl(s, t) + 1e-4).all()
    assert (values[0] < forward_kl(s, t) - 1e-3).all()
    torch.testing.assert_close(values[-1], forward_kl(s, t), rtol=1e-4, atol=1e-5)


def test_a_rest_below_float32_is_neither_lost_nor_infinite():
    """1 - sum q rounds to 0 in float32: the student's rest is summed over its classes."""
    s = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    half = Scores(
        torch.tensor([[0]]), torch.zeros(1, 1), torch.zeros(1, 1), (1.0,), 2
    )  # the kept one has half of the mass
    value = scores_kl(s, half, 1.0)
    value.sum().backward()
    exact = 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - (math.log(2) - 40))
    assert value.item() == pytest.approx(exact, rel=1e-3)
    torch.testing.assert_close(s.grad, torch.tensor([[0.5, -0.25, -0.25]]), rtol=1e-2, atol=1e-3)
