"""Scores of one model on the test split, the same for a teacher, a student and an n-gram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.tasks.lm.data.corpus import Corpus, check_length
from stillhouse.tasks.lm.metrics.ngram import NGram
from stillhouse.tasks.lm.metrics.nll import Nll, bits_per_byte, loss_by_position, perplexity, score_text
from stillhouse.tasks.lm.plan import LmScoreConfig

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """What a model got.

    Attributes:
        metrics: nll (nats a token), perplexity, and bits_per_byte over whole windows; the first two and bits over all tokens as
            sliding_*.
        bits: (W,) bits a byte of each whole non-overlapping window: the items of a verdict.
        windows: (W, window) nats of each token of them.
        positions: (long_window,) mean nats at each place of a long window.
    """

    metrics: dict[str, float]
    bits: Floats
    windows: Floats
    positions: Floats


@dataclass(frozen=True)
class TestWindows:
    """What every model of a run is scored on: the same tokens in the same windows.

    Attributes:
        ids: tokens of the test split that are scored.
        size: bytes of all of them but the first, which nothing predicts.
        sliding_ids: those of them that are scored with sliding windows too: all, or fewer from the start.
        sliding_size: bytes of all of those but the first.
        window: tokens of a window.
        stride: of sliding windows.
        config: the rest.
    """

    ids: NDArray[Any]
    size: int
    sliding_ids: NDArray[Any]
    sliding_size: int
    window: int
    stride: int
    config: LmScoreConfig

    @classmethod
    def of(cls, corpus: Corpus, config: LmScoreConfig, window: int) -> TestWindows:
        """Of a corpus's test split; `window` is that of training, where the configuration names none.

        Raises:
            InputError: the split is shorter than a window; raised before hours of training.
        """
        ids = np.asarray(corpus.test.ids[: None if config.tokens is None else config.tokens + 1])
        own = config.window or window
        check_length(len(ids), own)
        part = ids[: None if config.sliding_tokens is None else config.sliding_tokens + 1]
        check_length(len(part), own)
        size, sliding = (len(corpus.tokenizer.decode(x[1:]).encode()) for x in (ids, part))
        return cls(ids, size, part, sliding, own, config.stride or max(1, own // 2), config)

    @property
    def bits_of_nats(self) -> float:
        """Bits a byte for each nat a token, on these tokens."""
        return (len(self.ids) - 1) / self.size / float(np.log(2))

    def score(self, nll: Nll, *, most: int | None = None) -> Scored:
        """Ask one model.

        Args:
            nll: (inputs, targets) -> (B, L) nats.
            most: the longest window that it takes; None: any.

        Raises:
            InputError: the split is shorter than a window.
        """
        config, batch = self.config, self.config.batch
        plain = score_text(nll, self.ids, length=self.window, batch=batch)
        sliding = score_text(nll, self.sliding_ids, length=self.window, stride=self.stride, batch=batch)
        metrics = _named("", plain, self.size) | _named("sliding_", sliding, self.sliding_size)
        length = min(config.long_window, most or config.long_window, len(self.ids) - 1)
        positions = loss_by_position(nll, self.ids, length=length, batch=batch, most_rows=config.position_windows)
        windows = plain[: len(plain) // self.window * self.window].reshape(-1, self.window)
        bits = windows.mean(1) * self.bits_of_nats
        return Scored({**metrics, "bits_per_byte": float(bits.mean())}, bits, windows, positions)


def ngram_nll(corpus: Corpus, order: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Nats of an n-gram, learned from the very train split that the students see."""
    model = NGram(corpus.train.ids, vocab_size=corpus.tokenizer.vocab_size, order=order)
    return lambda inputs, targets: torch.from_numpy(model.nll(inputs.numpy(), targets.numpy()))


def _named(prefix: str, nll: Floats, size: int) -> dict[str, float]:
    return {
        f"{prefix}nll": float(nll.mean()),
        f"{prefix}perplexity": perplexity(nll),
        f"{prefix}bits_per_byte": bits_per_byte(nll, size),
    }
