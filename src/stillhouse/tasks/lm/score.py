"""How well a language model predicts: nats of every token, the same tokens and windows for a teacher, a student and an n-gram.

Shapes: N tokens of a text, W windows, B rows, L tokens of a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from stillhouse.core.types import Batch
from stillhouse.curricula import fuse, rouge_l
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.tasks.lm.ngram import NGram
from stillhouse.tasks.lm.plan import LmScoreConfig
from stillhouse.tasks.lm.tokenizer import Tokenizer

Nll = Callable[[Tensor, Tensor], Tensor]
Floats = NDArray[np.float64]
WRITTEN = 32  # tokens that a judge writes after half a window
WRITING_ROWS, ASKED_ROWS = 256, 16  # windows that it continues, or that a judge is asked about, at a time


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


def streamed_text(model: Any, ids: NDArray[Any], *, length: int, lanes: int = 16) -> Floats:
    """(lanes, tokens of a lane) nats under a network that keeps its state from window to window, as one that generates does.

    Args:
        model: with a state: a `SpikingLM`.
        ids: (N,) tokens; as many as there are lanes are begun without a past, the few that fill no lane are left out.
        length: tokens of a pass.
        lanes: texts beside each other that the tokens are cut into.

    Raises:
        InputError: fewer tokens than lanes.
    """
    inputs, targets = Windows(ids, max(1, (len(ids) - 1) // lanes))(np.arange(lanes))
    state, pieces = model.initial_state(lanes), []
    with torch.no_grad():
        for x, y in zip(inputs.split(length, 1), targets.split(length, 1)):
            (hidden, after), offset = model.hidden(x, state), model.offset(x, state)
            logits = model.readout(hidden) if offset is None else model.readout(hidden) + offset
            pieces.append(F.cross_entropy(logits.transpose(1, 2).double(), y, reduction="none"))
            state = after
    return torch.cat(pieces, 1).numpy()


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

    def streamed(self, model: Any) -> float:
        """Bits a byte of a recurrent network that keeps its state over the windows: what its users meet, and no transformer has."""
        nats = streamed_text(model, self.ids, length=self.window, lanes=min(16, len(self.ids) // self.window))
        return float(nats.mean()) * (len(self.ids) - 1) / self.size / float(np.log(2))


def window_difficulty(judge: Any, windows: Windows, measures: Sequence[str], *, k: float = 60.0) -> np.ndarray:
    """(rows,) how hard each window is to a judge, high is hard: fused ranks of several measures.

    Args:
        judge: a teacher, which a student may be the network of.
        windows: the rows.
        measures: some of "loss", "margin" (the right score less the best other) and "rouge-l"; the last compares what a student
            writes after half a window with how the text goes on.
        k: constant of the reciprocal rank fusion.
    """
    found: dict[str, np.ndarray] = {}
    if "rouge-l" in measures:
        found["rouge-l"] = written_overlap(judge.module, windows)
    if set(measures) > set(found):
        pieces = np.array_split(np.arange(len(windows)), max(1, -(-len(windows) // ASKED_ROWS)))
        losses, margins = zip(
            *(_loss_and_margin(judge, Batch(*windows(rows), torch.from_numpy(rows))) for rows in pieces)
        )
        found |= {"loss": np.concatenate(losses), "margin": np.concatenate(margins)}
    return np.asarray(fuse({name: found[name] for name in measures}, k=k))


def _loss_and_margin(judge: Any, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(B,) of each window: mean cross-entropy, and mean of the right score less the best other."""
    logits = judge(batch).logits
    right = batch.labels.unsqueeze(-1).to(logits.device)
    score, others = logits.gather(-1, right), logits.scatter(-1, right, float("-inf")).amax(-1, keepdim=True)
    found = (logits.logsumexp(-1, keepdim=True) - score, score - others)
    loss, margin = (x.mean((1, 2)).cpu().numpy() for x in found)
    return loss, margin


def written_overlap(model: Any, windows: Windows) -> np.ndarray:
    """(rows,) ROUGE-L of what a student writes after half of each window, its likeliest tokens, against how the text goes on.

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL), section 3.
    """
    half = max(1, windows.length // 2)
    count = min(WRITTEN, windows.length - half)
    found = []
    for rows in np.split(np.arange(len(windows)), np.arange(WRITING_ROWS, len(windows), WRITING_ROWS)):
        inputs = windows(rows)[0]
        written = model.generate(inputs[:, :half].to(next(model.parameters()).device), count)[:, half:].tolist()
        found += [rouge_l(a, b) for a, b in zip(written, inputs[:, half : half + count].tolist())]
    return np.asarray(found)
