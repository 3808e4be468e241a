"""A pruned n-gram model as a trie of fixed size: counted from a text, packed into bytes, read a token at a time. numpy only.

p(w | context) = (share(context, w) + rest(context) p(w | shorter context)) / (the sum of both), with rest = 1 - the shares of what
is kept: probabilities sum to 1 whatever was pruned and however shares were rounded.

Shapes: V vocabulary, K entries. Nodes 0 to V - 1 are the single tokens, V to V + K - 1 the longer sequences, level after level, the
children of a node beside each other and sorted by their last token.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.tasks.lm.ngram import NGram, Order, expected_levels, smoothed
from stillhouse.tasks.lm.students import NGramConfig

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Expected = tuple[NDArray[Any], NDArray[Any]]  # tokens and probabilities
STEP, NOTHING = 1 / 16, 255  # shares are exp(-STEP * code), to 3 % of their value; the last code is 0
SMALLEST_REST = 1e-3  # of a context whose rounded shares add up to 1: something is left for what never came


@dataclass(frozen=True)
class Trie:
    """What an n-gram model is on disk.

    Attributes:
        words: (K,) int32, last token of each longer sequence; places behind the last one are 0.
        codes: (V + K,) uint8, the share of each node in what follows its context.
        fanout: (V + K,) int32, how many longer sequences begin with each node.
    """

    words: NDArray[np.int32]
    codes: NDArray[np.uint8]
    fanout: NDArray[np.int32]

    @classmethod
    def empty(cls, vocab_size: int, entries: int) -> Trie:
        """Of no text: every token is as likely as every other."""
        size = vocab_size + entries
        return cls(np.zeros(entries, np.int32), np.full(size, NOTHING, np.uint8), np.zeros(size, np.int32))

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.codes) - len(self.words)

    @property
    def used(self) -> int:
        """Entries that hold a sequence."""
        return int(self.fanout.sum())


def tables_of(trie: Trie) -> dict[str, NDArray[Any]]:
    """What is looked up in: parents, sums and what is left of them.

    Returns:
        keys: (used,) int64 sorted: parent times V plus the last token, of nodes V, V + 1, ...
        words: (V + used,) last token of each node.
        first: (V + K,) the first child of each node.
        fanout: (V + K,) how many it has.
        share: (V + K,) of each node after its context, divided by the context's sum.
        rest: (V + K,) what each node as a context leaves to the shorter one, divided by its sum.
        single: (V,) probabilities without a context.
    """
    V, used = trie.vocab_size, trie.used
    children = trie.fanout.astype(np.int64)
    parents = np.repeat(np.arange(len(children)), children)
    words = np.concatenate([np.arange(V), trie.words[:used].astype(np.int64)])
    share = np.where(trie.codes == NOTHING, 0.0, np.exp(-STEP * trie.codes.astype(np.float64)))
    known = share[V : V + used]
    sums = np.bincount(parents, known, len(children))
    rest = np.maximum(1 - sums, SMALLEST_REST)
    whole = sums + rest
    share[V : V + used] = known / whole[parents]
    single = share[:V] + max(1 - share[:V].sum(), SMALLEST_REST) / V
    found = {
        "keys": parents * V + words[V:],
        "words": words,
        "first": V + np.cumsum(children) - children,
        "fanout": children,
    }
    return found | {"share": share, "rest": rest / whole, "single": single / single.sum()}


def count_trie(ids: ArrayLike, vocab_size: int, config: NGramConfig, expected: Expected | None = None) -> Trie:
    """The entries of a text's modified Kneser-Ney n-gram that save the most bits of it, and all that they begin with.

    Kneser-Ney's shorter models hold what longer ones leave over, and of what is pruned that is all: occurrences of pruned
    sequences are passed on whole, and shares and gains counted again. (As they are, they cost 0.017 bits per byte at 250,000.)

    Args:
        ids: (N,) token ids of the training text.
        vocab_size: V.
        config: longest sequence, and how many are kept.
        expected: (N - 1, k) tokens that a teacher expects after each but the last, and their probabilities: see `expected_levels`.

    Example:
        >>> trie = count_trie([0, 1, 0, 1, 0, 2, 0, 1], 4, NGramConfig(order=3, entries=100))
        >>> reader = TrieReader(trie, order=3)
        >>> p = np.exp(reader.read(0))
        >>> round(float(p.sum()), 6), int(p.argmax())
        (1.0, 1)

    Source: pruning: Seymore, Rosenfeld 1996, Scalable backoff language models; smoothing: Chen, Goodman 1999.
    """
    V, empty = vocab_size, Trie.empty(vocab_size, config.entries)
    if expected is not None:
        levels, expectations = expected_levels(ids, *expected, V, config.order)
        shares, gains, _ = _shares_and_gains(levels, expectations, V)
        return _kept([level.keys for level in levels], shares, gains, empty, _least(gains, config.entries))
    levels = NGram(ids, vocab_size=V, order=config.order).levels
    # how often a sequence came is how often the longer ones came that begin with it
    often = [levels[-1].counts]
    for shorter_level, level in zip(levels[-2::-1], levels[:0:-1]):
        often.insert(0, np.bincount(level.keys // V, often[0], len(shorter_level.keys)).astype(np.int64))
    _, gains, endings = _shares_and_gains(levels, often, V)
    for last in (False, True):
        least, counts = _least(gains, config.entries), often[-1]
        for n in range(len(levels) - 1, -1, -1):
            contexts = len(levels[n - 1].keys) if n else 1
            levels[n] = smoothed(levels[n].keys, counts, V, contexts)
            if n:  # of a sequence that is kept the shorter model explains one occurrence, of a pruned one all
                left = np.where(gains[n] > least, np.minimum(counts, 1), counts)
                counts = np.bincount(endings[n], left, contexts).astype(np.int64)
        shares, found, _ = _shares_and_gains(levels, often, V)
        gains = gains if last else found  # the shares are those of what was kept when counts were passed on
    return _kept([level.keys for level in levels], shares, gains, empty, least)


def _least(gains: list[Floats], entries: int) -> float:
    """Gains above it are kept."""
    every = np.concatenate(gains[1:]) if len(gains) > 1 else np.zeros(0)
    place = len(every) - entries - 1
    return float(np.partition(every, place)[place]) if place >= 0 else -np.inf


def _shares_and_gains(
    levels: list[Order], often: Sequence[NDArray[Any]], V: int
) -> tuple[list[Floats], list[Floats], list[Ints]]:
    """Of each sequence of each level its share, the nats that it saves, and the number of the sequence without its first token."""
    shares, gains, endings = list[Floats](), list[Floats](), list[Ints]()
    shorter, p_before = np.zeros(0, np.int64), np.zeros(0)
    for n, level in enumerate(levels):
        context, word = level.keys // V, level.keys % V
        total = level.totals[context]  # 0 of a sequence that only begins the text
        share = np.divide(level.counts - level.cut, total, out=np.zeros(len(total)), where=total > 0)
        if n == 0:
            p = share + level.backoff[0] / V
            gains.append(np.full(len(p), np.inf))
        else:
            numbers = levels[n - 1].keys
            shorter = np.searchsorted(numbers, word if n == 1 else shorter[context] * V + word)
            kept_back = np.where(level.totals[context] > 0, level.backoff[context], 1.0)
            lower = kept_back * p_before[shorter]
            p = share + lower
            ratio: Floats = np.divide(p, lower, out=np.ones_like(p), where=lower > 0)
            gains.append(np.log(ratio) * often[n].astype(np.float64))
        shares.append(share)
        endings.append(shorter)
        p_before = p
    for n in range(len(levels) - 1, 1, -1):  # whatever begins a sequence that is kept is kept too
        np.maximum.at(gains[n - 1], levels[n].keys // V, gains[n])
    return shares, gains, endings


def _kept(keys: list[Ints], shares: list[Floats], gains: list[Floats], trie: Trie, least: float) -> Trie:
    V = trie.vocab_size
    trie.codes[keys[0]] = _code(shares[0])
    number, begin = keys[0], V  # of the sequences of the level before; -1: pruned
    for n in range(1, len(keys)):
        kept = np.flatnonzero(gains[n] > least)
        parents, words = number[keys[n][kept] // V], keys[n][kept] % V
        # unigrams are numbered by token here, and the order of numbers is that of the keys: children stay sorted
        trie.words[begin - V : begin - V + len(kept)] = words
        trie.codes[begin : begin + len(kept)] = _code(shares[n][kept])
        np.add.at(trie.fanout, parents, 1)
        number = np.full(len(keys[n]), -1)
        number[kept] = begin + np.arange(len(kept))
        begin += len(kept)
    return trie


def _code(share: Floats) -> NDArray[np.uint8]:
    with np.errstate(divide="ignore"):
        return np.clip(np.round(-np.log(share) / STEP), 0, NOTHING).astype(np.uint8)


def pack_trie(trie: Trie) -> NDArray[np.uint8]:
    """Compressed bytes: steps from token to token among siblings, codes and numbers of children, in planes of bytes (LZMA).

    Example:
        >>> trie = count_trie([0, 1, 0, 1, 0, 2, 0, 1], 4, NGramConfig(order=3, entries=100))
        >>> again = unpack_trie(pack_trie(trie), 4, 100)
        >>> all(np.array_equal(getattr(trie, name), getattr(again, name)) for name in ("words", "codes", "fanout"))
        True
    """
    steps, starts = trie.words.astype(np.int64), _starts(trie)
    steps[1:] -= trie.words[:-1]
    steps[starts] = trie.words[starts]
    planes = [_planes(steps), _planes(trie.fanout), trie.codes.tobytes()]
    return np.frombuffer(lzma.compress(b"".join(planes), preset=9 | lzma.PRESET_EXTREME), np.uint8).copy()


def unpack_trie(packed: NDArray[np.uint8], vocab_size: int, entries: int) -> Trie:
    """What `pack_trie` packed."""
    raw, size = lzma.decompress(packed.tobytes()), vocab_size + entries
    steps, children = _whole(raw[: 4 * entries]), _whole(raw[4 * entries : 4 * (entries + size)])
    codes = np.frombuffer(raw[4 * (entries + size) :], np.uint8).copy()
    blank = Trie(np.zeros(entries, np.int32), codes, children)
    total, starts = np.cumsum(steps.astype(np.int64)), _starts(blank)
    # sums begin anew at the first child of every node
    base = np.zeros(entries, np.int64)
    base[starts] = np.diff(total[starts] - steps[starts], prepend=0)
    return Trie((total - np.cumsum(base)).astype(np.int32), codes, children)


def _starts(trie: Trie) -> Ints:
    """Places of the first child of each node among the entries, and of the first that is not used."""
    children = trie.fanout.astype(np.int64)
    starts = (np.cumsum(children) - children)[children > 0]
    unused = [trie.used] if trie.used < len(trie.words) else []
    return np.concatenate([starts, unused]).astype(np.int64)


def _planes(values: NDArray[np.integer]) -> bytes:
    return values.astype("<i4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _whole(raw: bytes) -> NDArray[np.int32]:
    planes = np.frombuffer(raw, np.uint8).reshape(4, -1).T
    return np.ascontiguousarray(planes).view("<i4").reshape(-1).astype(np.int32)


class TrieReader:
    """An n-gram model that takes a token and gives log-probabilities of the next: what a generator runs.

    Args:
        trie: the model.
        order: its longest sequence.
    """

    def __init__(self, trie: Trie, order: int) -> None:
        self.tables, self.vocab_size = tables_of(trie), trie.vocab_size
        self.context = np.full(max(1, order - 1), -1)  # nodes of the last 1, 2, ... tokens

    def read(self, token: int) -> Floats:
        """(V,) log-probabilities of what comes after one more token."""
        t, before = self.tables, self.context.copy()
        self.context[0] = token
        for n in range(1, len(before)):
            key = before[n - 1] * self.vocab_size + token  # below 0 without a node: found nowhere
            at = int(np.searchsorted(t["keys"], key))
            self.context[n] = self.vocab_size + at if at < len(t["keys"]) and t["keys"][at] == key else -1
        rest, p = 1.0, np.zeros(self.vocab_size)
        for node in self.context[::-1]:  # the longest context first
            if node >= 0 and t["fanout"][node] > 0:
                children = slice(t["first"][node], t["first"][node] + t["fanout"][node])
                p[t["words"][children]] += rest * t["share"][children]
                rest *= t["rest"][node]
        return np.log(p + rest * t["single"])
