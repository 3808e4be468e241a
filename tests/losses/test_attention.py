"""Attention and relations against scipy, row by row; padding and causal rows must be as if they were not there."""

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from stillhouse.core.checks import InputError
from stillhouse.losses.attention import attention_kl, attention_score_mse, relation_kl

BOTH = [attention_kl, attention_score_mse]


def noise(seed, *shape, scale=2.0):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(s, t, mask=None, causal=False):
    """Each query's keys picked out one by one; nothing is masked because nothing else is looked at."""
    B, H, L, _ = s.shape
    means = []
    for b in range(B):
        there = [i for i in range(L) if mask is None or mask[b, i]]
        rows = []
        for h in range(H):
            for i in there:
                keys = [j for j in there if j <= i or not causal]
                p, q = (softmax(x[b, h, i, keys].numpy()) for x in (t, s))
                rows.append(rel_entr(p, q).sum())
        means.append(np.mean(rows) if rows else 0.0)
    return torch.tensor(means)


MASK = torch.tensor([[True, True, True, True, False], [True, False, False, False, False], [False] * 5])


@pytest.mark.parametrize("mask", [None, MASK, ~MASK])
@pytest.mark.parametrize("causal", [False, True])
def test_kl_equals_scipys_over_the_keys_that_are_there(mask, causal):
    """Padding looked at, averaged over, or a mean over H L L entries: each would be another number."""
    s, t = noise(0, 3, 2, 5, 5), noise(1, 3, 2, 5, 5)
    value = attention_kl(s, t, mask=mask, causal=causal)
    assert value.shape == (3,)
    torch.testing.assert_close(value, by_hand(s, t, mask, causal))
    torch.testing.assert_close(attention_kl(t, t, mask=mask, causal=causal), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("loss", BOTH)
@pytest.mark.parametrize("causal", [False, True])
def test_what_is_padding_has_no_effect_and_no_gradient(loss, causal):
    """Whatever stands there, NaN included: it must equal the loss of the cut sequence."""
    s, t = noise(0, 2, 2, 5, 5), noise(1, 2, 2, 5, 5)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    cut = loss(s[:, :, :3, :3], t[:, :, :3, :3], causal=causal)
    for x in (s, t):
        x[:, :, 3:] = float("nan")
        x[:, :, :, 3:] = float("nan")
    s.requires_grad_()
    value = loss(s, t, mask=mask, causal=causal)
    torch.testing.assert_close(value, cut)
    value.sum().backward()
    assert s.grad.isfinite().all()
    assert s.grad[:, :, 3:].abs().sum() == s.grad[:, :, :, 3:].abs().sum() == 0
    assert s.grad[:, :, :3, :3].abs().sum() > 0
    if causal:
        assert (s.grad.triu(1) == 0).all()


@pytest.mark.parametrize("loss", BOTH)
def test_a_sample_without_tokens_is_zero_with_a_finite_gradient(loss):
    """A softmax over nothing is NaN, and one NaN in the batch ends the run."""
    s, t = noise(0, 3, 2, 5, 5).requires_grad_(), noise(1, 3, 2, 5, 5)
    for mask in (MASK, MASK.flip(1)):  # padding on the left and causal: the first rows see no key at all
        value = loss(s, t, mask=mask, causal=True)
        assert value[2] == 0
        assert value[0] > 0
        value.sum().backward()
        assert s.grad.isfinite().all()


def test_scores_by_hand_count_only_pairs_that_see_each_other():
    """TinyBERT's mean over all entries makes the loss small where much is padding."""
    s, t = noise(0, 3, 2, 5, 5), noise(1, 3, 2, 5, 5)
    torch.testing.assert_close(attention_score_mse(s, t), (s - t).square().mean(dim=(1, 2, 3)))
    masked = attention_score_mse(s, t, mask=MASK)
    torch.testing.assert_close(masked[0], (s - t)[0, :, :4, :4].square().mean())
    torch.testing.assert_close(masked[1], (s - t)[1, :, 0, 0].square().mean())
    causal = attention_score_mse(s, t, causal=True)
    row, column = torch.tril_indices(5, 5)
    torch.testing.assert_close(causal, (s - t)[:, :, row, column].square().mean(dim=(1, 2)))
    shifted = attention_score_mse(s, s + 3)
    torch.testing.assert_close(shifted, torch.full((3,), 9.0, dtype=torch.float64))  # a softmax would not see it
    torch.testing.assert_close(attention_kl(s, s + 3), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("causal", [False, True])
def test_relations_equal_their_definition_at_any_two_widths(causal):
    """sqrt of the head's width, each side its own; widths and numbers of attention heads may differ."""
    s, t = noise(0, 3, 5, 6, scale=1.0), noise(1, 3, 5, 16, scale=1.0)

    def gram(x, heads):
        x = x.reshape(3, 5, heads, -1).transpose(1, 2)
        return x @ x.transpose(2, 3) / math.sqrt(x.shape[3])

    for heads in (1, 2):
        for mask in (None, MASK):
            expected = by_hand(gram(s, heads), gram(t, heads), mask, causal)
            torch.testing.assert_close(relation_kl(s, t, heads=heads, mask=mask, causal=causal), expected)
    assert not torch.allclose(relation_kl(s, t, heads=1), relation_kl(s, t, heads=2))


def test_what_does_not_fit_says_so():
    """Broadcasting 1 head against 4 would compare them all with the same one."""
    with pytest.raises(InputError, match=r"expected shape \(2, 4, 5, 5\), got \(2, 1, 5, 5\)"):
        attention_kl(noise(0, 2, 4, 5, 5), noise(0, 2, 1, 5, 5))
    with pytest.raises(InputError, match=r"mask: expected \(2, 5\) of bool, got \(2, 4\) of torch.bool"):
        attention_kl(noise(0, 2, 4, 5, 5), noise(0, 2, 4, 5, 5), mask=torch.ones(2, 4, dtype=torch.bool))
