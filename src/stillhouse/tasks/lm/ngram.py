"""Kneser-Ney counts of a text, and of what a teacher expects in it; the 5-gram that a network must pass. numpy only.

Sequences of n tokens have numbers of their own, found from (number of the first n - 1, last token): a lookup in one sorted
array for each order, whatever the vocabulary.

Shapes: N tokens of a text, B rows, L tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CLASSES = 4  # discounts of counts 0 (none), 1, 2, and 3 or more


@dataclass(frozen=True)
class Order:
    """All sequences of n tokens.

    Attributes:
        keys: (M,) sorted, number of the first n - 1 times V plus the last token.
        counts: (M,) how often (highest order), or after how many different tokens; expected ones where a teacher adds to them.
        cut: (M,) what is taken off each count.
        totals: (P,) sum of counts over what follows a context, by the context's number.
        backoff: (P,) probability that the lower order hands out after a context.
    """

    keys: Ints
    counts: Any
    cut: Floats
    totals: Floats
    backoff: Floats


class NGram:
    """Interpolated modified Kneser-Ney over sequences of up to `order` tokens; probabilities of all tokens sum to 1.

    Args:
        ids: (N,) token ids of the training text.
        vocab_size: V; what never came has a probability too, by the uniform distribution below the first order.
        order: longest sequence counted; a prediction looks at order - 1 tokens.

    Example:
        >>> model = NGram([0, 1, 0, 1, 0, 2, 0, 1], vocab_size=4, order=3)
        >>> p = [float(np.exp(-model.nll([[0, 1, 0]], [[1, 0, w]])[0, -1])) for w in range(4)]
        >>> round(sum(p), 6), p[1] == max(p)
        (1.0, True)

    Source: Chen, Goodman 1999, An empirical study of smoothing techniques for language modeling, section 3.
    """

    def __init__(self, ids: ArrayLike, *, vocab_size: int, order: int = 5) -> None:
        text = np.asarray(ids).astype(np.int64)
        self.vocab_size, self.order = vocab_size, order
        numbers, keys, counts = _count(text, vocab_size, order)
        self.levels: list[Order] = []
        for n in range(1, order + 1):
            if n < order:  # a lower order counts how many different tokens come before, not how often
                counts[n - 1] = _continuations(numbers[n - 1], numbers[n], len(keys[n - 1]))
            size = 1 if n == 1 else len(keys[n - 2])
            self.levels.append(smoothed(keys[n - 1], counts[n - 1], vocab_size, size))

    def nll(self, inputs: ArrayLike, targets: ArrayLike) -> Floats:
        """(B, L) nats of the token after each of (B, L), from the tokens of its own row only."""
        x, y = np.asarray(inputs).astype(np.int64), np.asarray(targets).astype(np.int64)
        B, L = x.shape
        probability = np.full((B, L), 1 / self.vocab_size)
        # context[b, i]: number of the n - 1 tokens that end at i; the empty sequence is number 0
        context = np.zeros((B, L), np.int64)
        for n, level in enumerate(self.levels, start=1):
            seen = context >= 0
            at = np.where(seen, context, 0)
            found = _lookup(level.keys, at * self.vocab_size + y)
            kept = np.where(found >= 0, level.counts[found] - level.cut[found], 0)
            total = level.totals[at]
            known = seen & (total > 0)
            now = kept / np.maximum(total, 1) + level.backoff[at] * probability
            probability = np.where(known, now, probability)
            # numbers of the n tokens that end at each place, -1 where the row has fewer or they never came
            before = context if n == 1 else np.concatenate([np.full((B, 1), -1), context[:, :-1]], axis=1)
            key = np.where(before >= 0, before, 0) * self.vocab_size + x
            context = np.where(before >= 0, _lookup(level.keys, key), -1)
        return -np.log(probability)


def _count(text: Ints, vocab: int, order: int) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """For each order: the number of the sequence that ends at each place (-1 before the first), sorted keys, counts."""
    numbers, keys, counts = [], [], []
    before = np.zeros_like(text)
    for _ in range(order):
        valid = before >= 0
        key, number, count = np.unique(before[valid] * vocab + text[valid], return_inverse=True, return_counts=True)
        here = np.full_like(text, -1)
        here[valid] = number
        numbers.append(here)
        keys.append(key)
        counts.append(count.astype(np.int64))
        before = np.concatenate([[-1], here[:-1]])
    return numbers, keys, counts


def _continuations(shorter: Ints, longer: Ints, size: int) -> Ints:
    """For each shorter sequence, how many different longer ones (a token more in front) end with it."""
    valid = longer >= 0
    _, place = np.unique(longer[valid], return_index=True)
    return np.bincount(shorter[valid][place], minlength=size).astype(np.int64)


def smoothed(keys: Ints, counts: Ints, vocab: int, contexts: int) -> Order:
    """Discounts from counts of counts, and what each context leaves to the lower order."""
    ones, twos, threes, fours = (max(1, int((counts == c).sum())) for c in (1, 2, 3, 4))
    y = ones / (ones + 2 * twos)
    discounts = np.array([0.0, 1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes])
    # few counts of counts make nonsense of the estimate; something must be left for what never came
    discounts = np.clip(discounts, [0.0, 0.1, 0.1, 0.1], [0.0, 1.0, 2.0, 3.0])
    return _order(keys, counts, np.minimum(discounts[np.minimum(counts, CLASSES - 1)], counts), vocab, contexts)


def _order(keys: Ints, counts: Any, cut: Floats, vocab: int, contexts: int) -> Order:
    context = keys // vocab
    totals, left = (_sums(context, part, contexts) for part in (counts, cut))
    return Order(keys, counts, cut, totals, np.divide(left, totals, out=np.zeros(contexts), where=totals > 0))


def expected_levels(
    ids: ArrayLike, tokens: ArrayLike, chances: ArrayLike, vocab: int, order: int
) -> tuple[list[Order], list[Floats]]:
    """The orders of a text and of what a teacher expects at each of its places, and how often each sequence is expected.

    A token of the text counts as one and each of the teacher's as its probability; a shorter order counts the chances that each
    longer sequence comes at all, 1 - prod(1 - p). One discount an order, by the expected numbers of those that come once and twice.

    Args:
        ids: (N,) the text.
        tokens: (N - 1, k) what the teacher expects after each token but the last.
        chances: (N - 1, k) their probabilities.
        vocab: V.
        order: longest sequence.

    Example:
        After 0 came 1, and the teacher gives 2 a half.

        >>> levels, often = expected_levels([0, 1], [[2]], [[0.5]], vocab=3, order=1)
        >>> levels[0].keys.tolist(), often[0].tolist()
        ([1, 2], [1.0, 0.5])

    Source: Zhang, Chiang 2014, Kneser-Ney smoothing on expected counts, ACL.
    """
    text = np.asarray(ids).astype(np.int64)
    words = np.concatenate([text[1:, None], np.asarray(tokens, np.int64)], 1)
    weights = np.concatenate([np.ones((len(words), 1)), np.asarray(chances, np.float64)], 1)
    keys, often, ends = list[Ints](), list[Floats](), list[Ints]()
    context = last = np.zeros(len(words), np.int64)  # numbers of the tokens up to each place
    for n in range(order):
        valid = context >= 0
        key, place = np.unique(context[valid, None] * vocab + words[valid], return_inverse=True)
        place, events = place.reshape(-1), weights[valid].reshape(-1)
        before = last if n == 0 else np.concatenate([[-1], last[:-1]])
        last = np.where(before >= 0, _lookup(key, np.maximum(before, 0) * vocab + text[:-1]), -1)
        if n:  # the number of each sequence without its first token
            suffix = key % vocab if n == 1 else ends[-1][key // vocab] * vocab + key % vocab
            ends.append(np.searchsorted(keys[-1], suffix))
        keys.append(key)
        often.append(_sums(place, events, len(key)))
        context = last
    levels = list[Order]()
    for n in range(order - 1, -1, -1):
        counts, chance, cut = _discounted(place, events, len(keys[n]))
        levels.insert(0, _order(keys[n], counts, cut, vocab, len(keys[n - 1]) if n else 1))
        if n:
            place, events = ends[n - 1], chance
    return levels, often


def _discounted(place: Ints, events: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    """Of sums of independent events: expected count, chance of at least one, and what Kneser-Ney takes off."""
    p = np.minimum(events, 1 - 1e-9)
    odds = p / (1 - p)
    counts, never, first, second = (_sums(place, x, size) for x in (events, np.log1p(-p), odds, odds**2))
    never = np.exp(never)
    once, twice = (never * first).sum(), (never * np.maximum(first**2 - second, 0)).sum() / 2
    return counts, 1 - never, np.minimum(once / (once + 2 * twice) * (1 - never), counts)


def _sums(place: Ints, weights: Any, size: int) -> Floats:
    return np.bincount(place, weights, size).astype(np.float64)


def _lookup(keys: Ints, wanted: Ints) -> Ints:
    """Places of numbers in a sorted array, -1 where they are not."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)
