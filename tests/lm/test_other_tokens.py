"""Teachers with another tokenizer: sums over tokens against sums by hand, and against every way to cut a text."""

from itertools import product

import numpy as np
import pytest
import torch

from stillhouse.core.types import Batch
from stillhouse.tasks.lm.teachers import SmallTransformerConfig
from stillhouse.tasks.lm.teachers.other_tokens import ByteMarginals, Prefixes
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher, small_transformer
from stillhouse.tasks.lm.tokenizer import cut_bytes, token_bytes, train_bpe


def as_batch(rows):
    """Token ids as a teacher is asked about them."""
    tokens = torch.tensor(rows)
    return Batch(tokens, tokens, torch.arange(len(tokens)))


TEXT = "the river sang over the stone; the river ran under the stone. naïve café\n"


@pytest.fixture(scope="module")
def theirs():
    return train_bpe([TEXT * 3], 290)


@pytest.fixture(scope="module")
def teacher(theirs):
    """A small network of random weights, sharp enough that tokens differ."""
    torch.manual_seed(0)
    network = small_transformer(
        SmallTransformerConfig(width=16, layers=1, heads=2, context=128), theirs.vocab_size
    ).network
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(20)
    return LanguageTeacher(network, "small", vocab_size=theirs.vocab_size)


def by_hand(p, texts, known):
    """For each byte, the sum over all tokens that begin with what is known and go on with it: a loop over the vocabulary."""
    found = np.zeros(256)
    for number, text in enumerate(texts):
        if text and text.startswith(known) and len(text) > len(known):
            found[text[len(known)]] += p[number]
    return found


def test_marginals_equal_the_sum_over_the_vocabulary(teacher, theirs):
    """At every byte of a text, which holds letters of two bytes and begins inside one."""
    data = TEXT.encode()[-6:] + TEXT.encode()
    data = b"\xa9" + data
    texts, ids = token_bytes(theirs), cut_bytes(theirs, data)
    assert b"".join(texts[i] for i in ids) == data
    assert len(ids) < 0.7 * len(data)
    rows = [[texts.index(b"\n"), *ids]]
    p = teacher(as_batch(rows)).logits[0].double().softmax(-1).numpy()
    found = ByteMarginals(teacher, theirs)(as_batch([list(data)])).logits[0].double().exp().numpy()
    place = 0
    for k, number in enumerate(ids):
        for inside in range(len(texts[number])):
            if place:
                want = by_hand(p[k], texts, texts[number][:inside])
                np.testing.assert_allclose(found[place - 1], want / want.sum(), atol=1e-6)
            place += 1
    known = texts[ids[-1]]
    ends = by_hand(p[len(ids)], texts, b"")
    want = by_hand(p[len(ids) - 1], texts, known) + p[len(ids) - 1][ids[-1]] * ends / ends.sum()
    np.testing.assert_allclose(found[-1], want / want.sum(), atol=1e-6)


def test_averaged_over_cuts_marginals_are_the_distribution_of_the_next_byte():
    """Tokens a, b, ab, ba of a Markov chain: the mean over all cuts that begin with some bytes, by their probability, is exact.

    This is what learning by forward KL averages over; nothing of it comes from our sums but the marginals themselves.
    """
    texts = [b"a", b"b", b"ab", b"ba"]
    rng = np.random.default_rng(0)
    chain = rng.dirichlet(np.ones(4), size=5)  # the last row begins
    prefixes, length = Prefixes(texts), 4
    weights, means = {}, {}
    for cut in product(range(4), repeat=length):
        p = np.prod([chain[before, now] for before, now in zip((4, *cut), cut)])
        data = b"".join(texts[i] for i in cut)
        ends = np.cumsum([len(texts[i]) for i in cut])
        for n in range(length):  # every cut of four tokens holds so many bytes at least
            k = int(np.searchsorted(ends, n, side="right"))
            start = ends[k - 1] if k else 0
            row = torch.from_numpy(chain[cut[k - 1] if k else 4])[None]
            node = torch.tensor([prefixes.node(data[start:n])])
            mass = prefixes.next_byte(row, torch.tensor([0]), node)[0].numpy()
            weights[data[:n]] = weights.get(data[:n], 0) + p
            means[data[:n]] = means.get(data[:n], 0) + p * mass / mass.sum()
    exact = {known: weights.get(known, 0) for known in weights}
    checked = 0
    for known, weight in weights.items():
        for b in b"ab":
            longer = known + bytes([b])
            if len(longer) < length and longer in exact:
                assert means[known][b] / weight == pytest.approx(exact[longer] / weight, rel=1e-9)
                checked += 1
    assert checked >= 14


def test_nats_of_bytes_add_up_to_those_of_tokens(teacher, theirs):
    """Shared out among the bytes, none lost: but for the first byte, which is given."""
    ours = ByteMarginals(teacher, theirs)
    data, texts = TEXT.encode(), token_bytes(theirs)
    ids = cut_bytes(theirs, data)
    rows = [[texts.index(b"\n"), *ids]]
    p = teacher(as_batch(rows)).logits[0].double().softmax(-1)
    total = -p[torch.arange(len(ids)), torch.tensor(ids)].log().sum()
    given = -np.log(by_hand(p[0].numpy(), texts, b"")[data[0]])
    both = torch.tensor([list(data)])
    found = ours.nll(both[:, :-1], both[:, 1:])
    assert found.shape == (1, len(data) - 1)
    assert found.sum().item() == pytest.approx(float(total) - given, rel=1e-5)
