"""Perplexity, bits a byte, windows, n-grams."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs
from stillhouse.tasks.lm.ngram import NGram
from stillhouse.tasks.lm.plan import LmScoreConfig
from stillhouse.tasks.lm.score import TestWindows, model_nll, perplexity, score_text, streamed_text
from stillhouse.tasks.lm.students import NGramConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.trie import count_trie
from stillhouse.tasks.lm.tokenizer import byte_tokenizer


class Context:
    """Nats of a target are the tokens of context before it: which window a token was scored in shows."""

    def __call__(self, inputs, targets):
        assert (targets[:, :-1] == inputs[:, 1:]).all()
        self.seen = [*getattr(self, "seen", []), *targets.flatten().tolist()]
        return torch.arange(1.0, inputs.shape[1] + 1).expand(inputs.shape)


class Bigram(nn.Module):
    """Logits are a table's row: knows the last token only."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 7)

    def forward(self, tokens):
        return Outputs(self.table(tokens))


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    """ln against log2, sum against mean."""
    assert perplexity(np.full(8, math.log(256))) == 256.0
    ids = byte_tokenizer().encode_lines(["plain words"] * 9)
    windows = TestWindows.of(ids, byte_tokenizer(), LmScoreConfig(), 11)
    metrics, bits = windows.score(lambda inputs, targets: torch.full(targets.shape, math.log(256)))
    assert metrics["bits_per_byte"] == pytest.approx(8.0)
    assert len(bits) == 8
    with pytest.raises(InputError, match="at least 100 tokens"):
        TestWindows.of(ids, byte_tokenizer(), LmScoreConfig(), 99)


@pytest.mark.parametrize("tokens", [9, 17, 30, 33])
def test_every_token_but_the_first_counts_once(tokens):
    """Overlap counted twice, or a dropped tail, is how perplexities of one text differ."""
    context = Context()
    found = score_text(context, np.arange(tokens, dtype=np.uint16), length=8, batch=3)
    assert found.tolist() == [1 + i % 8 for i in range(tokens - 1)]
    assert sorted(context.seen) == list(range(1, tokens))


def test_a_stream_is_one_long_window():
    """A state that is dropped between windows would score as windows do, and call it a stream."""
    torch.manual_seed(0)
    model = (
        SpikingLMConfig(vocab_size=256, width=16, layers=1, heads=2, ffn=2.0, ngram=NGramConfig(entries=50))
        .build()
        .eval()
    )
    ids = np.random.default_rng(0).integers(0, 9, 61)
    model.prior.fill(count_trie(np.tile(ids, 3), 256, model.config.ngram))
    whole = score_text(model_nll(model), ids, length=60)
    np.testing.assert_allclose(streamed_text(model, ids, length=8, lanes=1)[0], whole, atol=1e-4)
    assert streamed_text(model, ids, length=8, lanes=3).shape == (3, 20)
    examined = TestWindows.of(ids, byte_tokenizer(), LmScoreConfig(), 20)
    assert examined.streamed(model) == pytest.approx(streamed_text(model, ids, length=20, lanes=3).mean() / math.log(2))


def test_model_nll_is_cross_entropy():
    """Of each token, in its place."""
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
