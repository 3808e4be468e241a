"""The n-gram inside a student: a distribution whatever was pruned, equal to what it was counted from, and added exactly."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from stillhouse.tasks.lm.ngram import NGram, expected_levels
from stillhouse.tasks.lm.score import model_nll
from stillhouse.tasks.lm.students import NGramConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.prior import NGramPrior, held_out_priors
from stillhouse.tasks.lm.students.trie import TrieReader, count_trie, pack_trie, tables_of, unpack_trie

V = 11


def text(count=4000, seed=0):
    """Tokens that mostly follow from the two before them."""
    generator, ids = np.random.default_rng(seed), [0, 1]
    for _ in range(count):
        ids.append(int((3 * ids[-1] + ids[-2]) % V if generator.random() < 0.7 else generator.integers(V)))
    return np.array(ids)


def prior_of(config, ids=None):
    prior = NGramPrior(V, config)
    prior.fill(count_trie(text() if ids is None else ids, V, config))
    return prior


def test_without_pruning_it_is_the_kneser_ney_model():
    """Shares are kept in 8 bits, 3 % off at most: over four levels no probability may be off by more than 20 %, nor the mean."""
    config = NGramConfig(order=4, entries=20_000)
    trie, reference = count_trie(text(), V, config), NGram(text(), vocab_size=V, order=4)
    assert trie.used == sum(len(level.keys) for level in reference.levels[1:])
    ids = torch.from_numpy(text(300, seed=1)[None])
    scores, _ = prior_of(config)(ids, torch.full((1, 3), -1))
    found = -scores[0, :-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
    wanted = reference.nll(ids[:, :-1].numpy(), ids[:, 1:].numpy())[0]
    assert np.abs(found - wanted).max() < 0.2
    assert abs(found.mean() - wanted.mean()) < 0.01


def test_expected_counts_are_the_mean_over_what_the_teacher_may_say():
    """By enumeration: each of its tokens comes or not, 2^4 texts; pairs count how often, single tokens after how many others."""
    ids, tokens, chances = (
        np.array([0, 1, 0, 2]),
        np.array([[2, 3], [0, 3], [1, 1]]),
        np.array([[0.5, 0.2], [0.4, 0.0], [0.1, 0.7]]),
    )
    pairs, singles = {}, {}
    for came in product([0, 1], repeat=6):
        weight = np.prod(np.where(came, chances.ravel(), 1 - chances.ravel()))
        said = [(0, 1), (1, 0), (0, 2)]
        said += [(ids[n // 2], int(tokens.ravel()[n])) for n in range(6) if came[n]]
        for pair in set(said):
            pairs[pair] = pairs.get(pair, 0) + weight * said.count(pair)
            singles[pair[1]] = singles.get(pair[1], 0) + weight
    levels, often = expected_levels(ids, tokens, chances, vocab=V, order=2)
    for (place, word), count in pairs.items():
        key = list(levels[0].keys).index(place) * V + word
        assert levels[1].counts[list(levels[1].keys).index(key)] == pytest.approx(count, abs=1e-6)
    assert dict(zip(levels[0].keys.tolist(), levels[0].counts)) == pytest.approx(singles, abs=1e-6)
    assert often[1] == pytest.approx(levels[1].counts)
    assert often[0].sum() == pytest.approx(3 + chances.sum())


def test_a_teacher_that_is_silent_adds_nothing():
    """Kneser-Ney on expected counts is Kneser-Ney where every count is sure (the text's first token follows nothing)."""
    ids = text(500)
    silent = np.zeros((len(ids) - 1, 0))
    levels, _ = expected_levels(ids, silent, silent, vocab=V, order=3)
    for found, wanted in zip(levels[1:], NGram(ids, vocab_size=V, order=3).levels[1:]):
        assert np.array_equal(found.keys, wanted.keys)
        assert found.counts == pytest.approx(wanted.counts, abs=1e-5)
        ones, twos = (wanted.counts == 1).sum(), (wanted.counts == 2).sum()
        assert found.cut == pytest.approx(np.full(len(found.keys), ones / (ones + 2 * twos)), abs=1e-5)


def test_an_n_gram_predicts_what_only_its_teacher_knows():
    """Half a text that never says what follows; the teacher does."""
    short, config = text(60), NGramConfig(order=3, entries=2000)
    x, before = short[1:-1], short[:-2]
    rows = ((3 * x + before) % V)[:, None]
    told = (np.concatenate([[[0]], rows]), np.full((len(rows) + 1, 1), 0.8))
    ids = torch.from_numpy(text(400, seed=3)[None])
    nats = []
    for expected in (None, told):
        prior = NGramPrior(V, config)
        prior.fill(count_trie(short, V, config, expected))
        nats.append(prior.nll(ids[:, :-1], ids[:, 1:]).mean())
    assert nats[1] < nats[0] - 0.05


def test_held_out_parts_count_the_teacher_of_the_other_rows():
    """Its answers to a row know what the row goes on with: counted, the student would trust its n-gram too much."""
    ids, config = text(98)[:81], NGramConfig(order=3, entries=200, held_out=2)
    told = ids[1:, None], np.full((80, 1), 0.5)
    first, last = held_out_priors(ids, V, config, rows=8, length=10, expected=told)
    for prior, rows in ((first, slice(40, 80)), (last, slice(0, 40))):
        others = np.append(ids[rows], ids[80])
        wanted = count_trie(others, V, config, (told[0][rows], told[1][rows]))
        assert np.array_equal(prior.codes.numpy(), wanted.codes)
        assert not np.array_equal(wanted.codes, count_trie(others, V, config).codes)


@pytest.mark.parametrize("entries", [1, 30, 300])
def test_probabilities_sum_to_one_whatever_was_pruned(entries):
    """A mass that is lost or counted twice would be bits won by a mistake."""
    config = NGramConfig(order=4, entries=entries)
    prior = prior_of(config)
    assert 0 < prior.trie.used <= entries
    scores, _ = prior(torch.from_numpy(text(200, seed=2)[None]), prior.initial_state(1))
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(1, 202), atol=1e-5, rtol=0)


def test_what_is_kept_is_worth_more_than_what_is_not():
    """More entries predict better, and a few well chosen ones far better than single tokens."""
    ids = torch.from_numpy(text(2000, seed=3)[None])

    def nats(entries):
        prior = prior_of(NGramConfig(order=3, entries=entries))
        return float(-prior(ids, prior.initial_state(1))[0][0, :-1].gather(1, ids[0, 1:, None]).mean())

    one, some, all_ = nats(1), nats(180), nats(20_000)
    assert one > some > all_
    assert one - some > 0.4 * (one - all_)


def test_shorter_models_hold_what_was_pruned():
    """Kneser-Ney's single tokens count what they follow, not how often they come: alone they would be all alike here."""
    share = 0.5 ** np.arange(1, 6)
    ids = np.random.default_rng(6).choice(5, 9000, p=share / share.sum())
    trie = count_trie(ids, V, NGramConfig(order=3, entries=1))
    others = np.setdiff1d(np.arange(5), trie.words)  # one pair is kept, and explains its own second token
    single, seen = tables_of(trie)["single"][others], np.bincount(ids)[others]
    np.testing.assert_allclose(single / single.sum(), seen / seen.sum(), rtol=0.06)


def test_pieces_and_single_tokens_equal_one_pass():
    """The generator's reader, a token at a time, is other code than the network's; contexts cross the borders of pieces."""
    config = NGramConfig(order=4, entries=250)
    prior, ids = prior_of(config), torch.from_numpy(text(60, seed=4)[None])
    whole, _ = prior(ids, prior.initial_state(1))
    state, pieces = prior.initial_state(1), []
    for piece in ids.split([1, 2, 30, 29], 1):
        scores, state = prior(piece, state)
        pieces.append(scores)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    reader = TrieReader(prior.trie, 4)
    for t, token in enumerate(ids[0].tolist()):
        np.testing.assert_allclose(reader.read(token), whole[0, t].numpy(), atol=1e-4)


def test_bytes_come_back():
    """Also of an empty one, and of one whose entries are all used."""
    for entries in (1, 200, 20_000):
        trie = count_trie(text(), V, NGramConfig(order=4, entries=entries))
        again = unpack_trie(pack_trie(trie), V, entries)
        assert all(np.array_equal(getattr(trie, n), getattr(again, n)) for n in ("words", "codes", "fanout"))


def test_the_student_adds_its_scores_to_it():
    """With a readout of zeros the student is its n-gram; every way to ask gives the same."""
    config = SpikingLMConfig(vocab_size=V, width=16, layers=2, heads=2, ffn=2.0, ngram=NGramConfig(entries=250))
    torch.manual_seed(0)
    made, ids = config.build().eval(), torch.from_numpy(text(40, seed=5)[None])
    made.prior.fill(count_trie(text(), V, config.ngram))
    with torch.no_grad():
        scores = made(ids).logits
        state, steps = made.initial_state(1), []
        for token in ids[0]:
            one, state = made.read(token[None, None], state)
            steps.append(one)
        torch.testing.assert_close(torch.stack(steps, 1), scores, atol=1e-4, rtol=1e-4)
        nats = model_nll(made)(ids[:, :-1], ids[:, 1:])
        wanted = -scores[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        torch.testing.assert_close(nats, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(scores, made.scores(ids) + made.offset(ids))
        begun = replace(config, embedding_width=6).build()
        begun.prior.fill(made.prior.trie)
        torch.testing.assert_close(begun(ids).logits, begun.offset(ids))
