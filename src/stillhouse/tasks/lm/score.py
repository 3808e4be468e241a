"""How well a language model predicts: nats of every token, the same tokens and windows for a teacher, a student and an n-gram.

Shapes: N tokens of a text, W windows, B rows, L tokens of a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.core.types import Batch
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.tasks.lm.ngram import NGram
from stillhouse.tasks.lm.plan import LmScoreConfig
from stillhouse.tasks.lm.tokenizer import Tokenizer

Nll = Callable[[Tensor, Tensor], Tensor]
Floats = NDArray[np.float64]


def model_nll(model: Any) -> Nll:
    """Nats of targets (B, L) under a network or a teacher; a teacher of other tokens has the nats of its own."""
    if hasattr(model, "nll"):
        own: Nll = model.nll
        return own

    def nll(inputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(model, nn.Module):
            logits = model(inputs.to(next(model.parameters()).device)).logits
        else:
            logits = model(Batch(inputs, targets, torch.arange(len(inputs)))).logits
        found = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten().to(logits.device), reduction="none")
        return found.view_as(targets)

    return nll


def ngram_nll(ids: Any, vocab_size: int, order: int) -> Nll:
    """The same of an n-gram, counted on token ids."""
    model = NGram(ids, vocab_size=vocab_size, order=order)
    return lambda inputs, targets: torch.from_numpy(model.nll(inputs.numpy(), targets.numpy()))


def score_text(nll: Nll, ids: NDArray[Any], *, length: int, batch: int = 16) -> Floats:
    """(N - 1,) nats of every token but the first, in windows that do not overlap; a token sees half a window on average.

    Raises:
        InputError: the text is shorter than a window.
    """
    windows = Windows(ids, length)
    rows = np.split(np.arange(len(windows)), range(batch, len(windows), batch))
    pieces = [windows(some) for some in rows]
    if rest := (len(ids) - 1) % length:
        pieces.append(Windows(ids[-rest - 1 :], rest)(np.zeros(1)))
    with torch.no_grad():
        return np.concatenate([nll(*piece).double().cpu().numpy().ravel() for piece in pieces])


def perplexity(nats: Floats) -> float:
    """exp of the mean nats a token; of the same tokenizer only is it comparable.

    Example:
        >>> perplexity(np.log([2, 8]))  # the geometric mean of 2 and 8
        4.0
    """
    return round(float(np.exp(min(float(np.mean(nats)), 700.0))), 12)


@dataclass(frozen=True)
class TestWindows:
    """What every model of a run is scored on: the same tokens in the same windows.

    Attributes:
        ids: tokens of the test split that are scored.
        size: bytes of all of them but the first, which nothing predicts.
        window: tokens of a window.
    """

    ids: NDArray[Any]
    size: int
    window: int

    @classmethod
    def of(cls, ids: NDArray[Any], tokenizer: Tokenizer, config: LmScoreConfig, window: int) -> TestWindows:
        """Of token ids; `window` is that of training, where the configuration names none.

        Raises:
            InputError: fewer tokens than a window; raised before hours of training.
        """
        ids = np.asarray(ids[: None if config.tokens is None else config.tokens + 1])
        return cls(ids, len(tokenizer.decode(ids[1:]).encode()), Windows(ids, config.window or window).length)

    def score(self, nll: Nll) -> tuple[dict[str, float], Floats]:
        """Metrics of one model (nll, perplexity, bits_per_byte), and bits a byte of each whole window."""
        plain = score_text(nll, self.ids, length=self.window)
        windows = plain[: len(plain) // self.window * self.window].reshape(-1, self.window)
        bits = windows.mean(1) * len(plain) / self.size / np.log(2)
        return {"nll": float(plain.mean()), "perplexity": perplexity(plain), "bits_per_byte": float(bits.mean())}, bits
