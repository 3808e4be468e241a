"""A 5-gram language model with modified Kneser-Ney smoothing: the lower bound that a network must pass. numpy only.

Sequences of n tokens have numbers of their own, found from (number of the first n - 1, last token): a lookup in one sorted
array for each order, whatever the vocabulary.

Shapes: N tokens of a text, B rows, L tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        counts: (M,) how often (highest order), or after how many different tokens.
        discounts: (4,) taken off a count of 0, 1, 2, 3 or more.
        totals: (P,) sum of counts over what follows a context, by the context's number.
        backoff: (P,) probability that the lower order hands out after a context.
    """

    keys: Ints
    counts: Ints
    discounts: Floats
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
            count = np.where(found >= 0, level.counts[found], 0)
            total = level.totals[at]
            known = seen & (total > 0)
            cut = np.maximum(count - level.discounts[np.minimum(count, CLASSES - 1)], 0)
            now = cut / np.maximum(total, 1) + level.backoff[at] * probability
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
    context = keys // vocab
    totals: Floats = np.bincount(context, counts, contexts).astype(np.float64)
    cut = np.minimum(discounts[np.minimum(counts, CLASSES - 1)], counts)
    left: Floats = np.bincount(context, cut, contexts).astype(np.float64)
    return Order(keys, counts, discounts, totals, left / np.maximum(totals, 1))


def _lookup(keys: Ints, wanted: Ints) -> Ints:
    """Places of numbers in a sorted array, -1 where they are not."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)
