"""Perplexity, bits a byte, windows, positions, n-grams."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.metrics.ngram import NGram
from stillhouse.tasks.lm.metrics.nll import (
    bits_per_byte,
    loss_by_position,
    model_nll,
    perplexity,
    score_text,
)


class Context:
    """Nats of a target are the tokens of context before it: which window a token was scored in shows."""

    def __call__(self, inputs, targets):
        assert (targets[:, :-1] == inputs[:, 1:]).all()
        self.seen = [*getattr(self, "seen", []), *targets.flatten().tolist()]
        return torch.arange(1.0, inputs.shape[1] + 1).expand(inputs.shape)


class Bigram(nn.Module):
    """Logits are a table's row: knows the last token only, has no bias towards anything else."""

    def __init__(self, tokens=7):
        super().__init__()
        self.table = nn.Embedding(tokens, tokens)
        self.readout = nn.Linear(tokens, tokens, bias=False)
        with torch.no_grad():
            self.readout.weight.copy_(torch.eye(tokens))

    def hidden(self, tokens, state=None):
        return self.table(tokens), state


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    """ln against log2, sum against mean."""
    nll = np.full(8, math.log(256))
    assert perplexity(nll) == 256.0
    assert bits_per_byte(nll, 8) == pytest.approx(8.0)
    with pytest.raises(InputError, match=r"at least one byte"):
        bits_per_byte(nll, 0)


@pytest.mark.parametrize("stride", [None, 1, 3, 8])
@pytest.mark.parametrize("tokens", [9, 17, 30, 33])
def test_every_token_but_the_first_counts_once(stride, tokens):
    """Overlap counted twice, or a dropped tail, is how perplexities of one text differ."""
    context = Context()
    found = score_text(context, np.arange(tokens, dtype=np.uint16), length=8, stride=stride, batch=3)
    assert len(found) == tokens - 1
    assert (found >= 1).all()
    if stride is not None and stride < 8:  # each sees at least length - stride tokens before it
        assert (found[8:] > 8 - stride).all()
        assert found[:8].tolist() == list(range(1, 9))
    else:
        assert found.tolist() == [1 + i % 8 for i in range(tokens - 1)]
    assert set(context.seen) == set(range(1, tokens))


def test_shorter_texts_and_wrong_strides_are_told():
    """A text below one window would be scored as empty."""
    with pytest.raises(InputError, match=r"at least 9 tokens"):
        score_text(Context(), np.arange(8), length=8)
    with pytest.raises(InputError, match=r"stride: expected 1"):
        score_text(Context(), np.arange(30), length=8, stride=9)
    with pytest.raises(InputError, match=r"at least 9 tokens"):
        loss_by_position(Context(), np.arange(8), length=8)


def test_model_nll_is_cross_entropy():
    """Pieces of the readout must not change the value."""
    torch.manual_seed(0)
    model = Bigram()
    x, y = torch.randint(0, 7, (2, 5)), torch.randint(0, 7, (2, 5))
    expected = nn.functional.cross_entropy(model.table(x).flatten(0, 1), y.flatten(), reduction="none").view(2, 5)
    torch.testing.assert_close(model_nll(model)(x, y), expected)


# ------------------------------------------------------------------------------------------------------ n-grams


def by_hand(text, vocab, order):
    """Modified Kneser-Ney from its definition, with dictionaries: an independent form of the same formula."""
    grams = {n: Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for n in range(1, order + 1)}
    counts = {order: grams[order]}
    for n in range(1, order):
        counts[n] = Counter(gram[1:] for gram in grams[n + 1])
        counts[n].update(dict.fromkeys(grams[n], 0))
    discounts = {}
    for n, table in counts.items():
        c = [max(1, sum(v == i for v in table.values())) for i in range(1, 5)]
        y = c[0] / (c[0] + 2 * c[1])
        raw = [1 - 2 * y * c[1] / c[0], 2 - 3 * y * c[2] / c[1], 3 - 4 * y * c[3] / c[2]]
        discounts[n] = [0.0, *(min(max(d, 0.1), float(i)) for i, d in enumerate(raw, 1))]

    def p(word, context):
        n = len(context) + 1
        lower = 1 / vocab if n == 1 else p(word, context[1:])
        after = {g[-1]: v for g, v in counts[n].items() if g[:-1] == context}
        total = sum(after.values())
        if not total:
            return lower
        cut = {w: min(discounts[n][min(v, 3)], v) for w, v in after.items()}
        return (after.get(word, 0) - cut.get(word, 0)) / total + sum(cut.values()) / total * lower

    return p


def test_kneser_ney_is_its_definition():
    """A wrong continuation count is still a distribution, and a weaker bound than it is said to be."""
    text = np.random.default_rng(0).choice(5, 120, p=[0.4, 0.3, 0.15, 0.1, 0.05]).tolist()
    model, p = NGram(text, vocab_size=6, order=3), by_hand(text, 6, 3)
    inputs = np.array(list(itertools.product(range(5), repeat=3)))
    for word in range(6):
        found = np.exp(-model.nll(inputs, np.full_like(inputs, word)))
        expected = [[p(word, tuple(row[max(0, i - 1) : i + 1])) for i in range(3)] for row in inputs.tolist()]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_ngram_sees_its_own_row_only():
    """Like for like: a network starts a window without a past, so must the n-gram."""
    model = NGram(np.tile([0, 1, 2, 3], 30), vocab_size=4, order=4)
    row = np.array([[2, 3, 0, 1]])
    both = np.concatenate([np.array([[1, 1, 1, 1]]), row])
    np.testing.assert_array_equal(model.nll(row, row)[0], model.nll(both, both)[1])
    with pytest.raises(InputError, match=r"0 to 3, got 4"):
        model.nll([[4]], [[0]])
    with pytest.raises(InputError, match=r"more than 4 tokens"):
        NGram([0, 1, 2], vocab_size=4, order=4)
    with pytest.raises(InputError, match=r"\(B, L\) each"):
        model.nll([[0, 1]], [[0]])
