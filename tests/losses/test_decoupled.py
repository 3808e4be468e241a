"""The decoupled loss against its identity with KL and by hand."""

import math

import pytest
import torch
from scipy.special import rel_entr

from stillhouse.core.checks import InputError
from stillhouse.losses.divergence import decoupled_kl, forward_kl

LABELS = torch.tensor([0, 6, 2, 2, 5])


def logits(seed, rows=5, classes=7, scale=3.0):
    torch.manual_seed(seed)
    return scale * torch.randn(rows, classes, dtype=torch.float64)


def target_part(s, t, labels=LABELS, temperature=1.0):
    return decoupled_kl(s, t, labels, temperature=temperature, target_weight=1.0, nontarget_weight=0.0)


def other_part(s, t, labels=LABELS, temperature=1.0):
    return decoupled_kl(s, t, labels, temperature=temperature, target_weight=0.0, nontarget_weight=1.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_target_part_plus_the_rest_times_1_minus_p(temperature):
    """The identity of the paper, exactly: a slip in either part would show."""
    s, t = logits(0), logits(1)
    p_y = torch.softmax(t / temperature, 1).gather(1, LABELS.unsqueeze(1)).squeeze(1)
    parts = target_part(s, t, temperature=temperature) + (1 - p_y) * other_part(s, t, temperature=temperature)
    torch.testing.assert_close(parts, forward_kl(s, t, temperature=temperature), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("gap", [20.0, 60.0, 90.0])
def test_a_teacher_as_sure_as_float32_can_be_still_teaches(gap):
    """1 - p_y taken from p_y is 0 there; summed from the others the wrong classes keep their full gradient.

    To 1e-4: log-probabilities near -90 have steps of 8e-6 in float32.
    """
    others = torch.tensor([1.0, 0.0, -1.0])
    t = torch.cat([others.max() + torch.tensor([gap]), others]).unsqueeze(0)
    s = torch.tensor([[gap, 0.0, 0.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    value = decoupled_kl(s, t, label, target_weight=0.0, nontarget_weight=1.0)
    value.sum().backward()
    p = torch.softmax(others, 0)
    assert value.item() == pytest.approx(rel_entr(p.numpy(), [1 / 3] * 3).sum(), rel=1e-4)
    torch.testing.assert_close(s.grad[0, 1:], 1 / 3 - p, atol=1e-5, rtol=1e-4)
    whole = decoupled_kl(s, t, label)
    assert torch.isfinite(whole).all()
    assert torch.isfinite(torch.autograd.grad(whole.sum(), s)[0]).all()


def test_ruled_out_classes():
    """As if they were not there; and a teacher that leaves only the label possible says nothing of the others."""
    s, t = logits(0), logits(1)
    s[:, 4] = t[:, 4] = -math.inf
    kept = [0, 1, 2, 3, 5, 6]
    labels = torch.tensor([0, 5, 2, 2, 4])  # the same classes once number 4 is gone
    torch.testing.assert_close(decoupled_kl(s, t, LABELS), decoupled_kl(s[:, kept], t[:, kept], labels))
    only = torch.tensor([[0.0, -math.inf, -math.inf]])
    x = torch.zeros(1, 3, requires_grad=True)
    value = decoupled_kl(x, only, torch.tensor([0]))
    value.sum().backward()
    assert value.item() == pytest.approx(math.log(3))  # the target part alone
    assert torch.isfinite(x.grad).all()
    assert decoupled_kl(only, torch.zeros(1, 3), torch.tensor([0])).item() == math.inf


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0, 1, 2, 3, 7]), "from 0 to 6, got 0 to 7"),
        (torch.tensor([0.0, 1, 2, 3, 4]), "int64"),
    ],
)
def test_impossible_labels_are_refused(labels, words):
    """Gathered without a check they fail deep inside torch, or on a GPU later."""
    with pytest.raises(InputError, match=words):
        decoupled_kl(logits(0), logits(1), labels)
