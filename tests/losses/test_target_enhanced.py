"""The target-enhanced divergence against its published form, and its limits."""

import pytest
import torch
from torch.nn import functional as F

from stillhouse.losses.divergence import forward_kl, target_enhanced_kl

LABELS = torch.tensor([0, 3, 2, 2])


def scores(seed, rows=4, classes=5):
    return 2 * torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("gamma", "temperature"), [(1.0, 1.0), (1.4, 1.0), (2.0, 3.0)])
def test_gradient_is_that_of_the_published_cross_entropy(gamma, temperature):
    """Written here from the paper: weights (p + onehot)^gamma - onehot on -ln q."""
    s, t = scores(0).requires_grad_(), scores(1)
    right = F.one_hot(LABELS, 5)
    weights = (F.softmax(t / temperature, 1) + right) ** gamma - right
    published = -(weights * F.log_softmax(s / temperature, 1)).sum(1) * temperature**2
    ours = target_enhanced_kl(s, t, LABELS, gamma=gamma, temperature=temperature)
    found, expected = (torch.autograd.grad(x.sum(), s, retain_graph=True)[0] for x in (ours, published))
    torch.testing.assert_close(found, expected)
    gap = (published - ours).detach()  # what the student cannot change: the entropy of the weights
    other = target_enhanced_kl(scores(2), t, LABELS, gamma=gamma, temperature=temperature)
    again = -(weights * F.log_softmax(scores(2) / temperature, 1)).sum(1) * temperature**2
    torch.testing.assert_close(again - other, gap)


def test_gamma_1_is_the_plain_divergence_and_its_zero_is_at_the_weights():
    """A larger exponent moves the optimum towards the label, the more the surer the teacher is."""
    s, t = scores(0), scores(1)
    torch.testing.assert_close(target_enhanced_kl(s, t, LABELS, gamma=1.0), forward_kl(s, t))
    right = F.one_hot(LABELS, 5)
    weights = (t.softmax(1) + right) ** 2 - right
    torch.testing.assert_close(target_enhanced_kl(weights.log(), t, LABELS, gamma=2.0), torch.zeros(4).double())
    share = (weights / weights.sum(1, keepdim=True)).gather(1, LABELS[:, None])
    assert (share > t.softmax(1).gather(1, LABELS[:, None])).all()
    assert (target_enhanced_kl(s, t, LABELS, gamma=2.0) > 0).all()
