"""How well a language model predicts: nats of every token, and what is made of them.

Shapes: N tokens of a text, B rows, L tokens of a row, V vocabulary, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.data.corpus import check_length

Nll = Callable[[Tensor, Tensor], Tensor]
Floats = NDArray[np.float64]
Piece = tuple[Tensor, Tensor, int, NDArray[np.int64]]
CHUNK_ELEMENTS = 2**23


def perplexity(nll: ArrayLike) -> float:
    """exp of the mean nats a token; of the same tokenizer only is it comparable.

    Example:
        >>> perplexity([math.log(2), math.log(8)])  # the geometric mean of 2 and 8
        4.0
    """
    return round(math.exp(min(float(np.mean(np.asarray(nll, np.float64))), 700.0)), 12)


def bits_per_byte(nll: ArrayLike, size: int) -> float:
    """Bits for each byte of the text, comparable between tokenizers.

    Args:
        nll: (N,) nats of each token.
        size: bytes of the text that these tokens are.

    Raises:
        InputError: no bytes.

    Example:
        >>> round(bits_per_byte([math.log(16)], 2), 12)  # 4 bits over 2 bytes
        2.0
    """
    if size < 1:
        raise InputError(f"size: expected at least one byte, got {size}")
    return float(np.asarray(nll, np.float64).sum()) / math.log(2) / size


def model_nll(model: Any) -> Nll:
    """Nats of targets (B, L) under a model with `hidden`, `readout.weight` and perhaps `offset`; logits are made in pieces."""

    def scored(inputs: Tensor, targets: Tensor) -> Tensor:
        device = model.readout.weight.device
        hidden = model.hidden(inputs.to(device))[0]
        offset = model.offset(inputs.to(device)) if hasattr(model, "offset") else None
        return hidden_nll(hidden, lambda h: F.linear(h, model.readout.weight), targets.to(device), offset)

    return scored


def teacher_nll(teacher: Any) -> Nll:
    """The same for a `LanguageTeacher`; one of other tokens has the nats of its own."""
    if hasattr(teacher, "nll"):
        found: Nll = teacher.nll
        return found

    def scored(inputs: Tensor, targets: Tensor) -> Tensor:
        hidden = teacher.hidden(inputs).logits
        return hidden_nll(hidden, teacher.logits, targets.to(hidden.device))

    return scored


def hidden_nll(
    hidden: Tensor, logits: Callable[[Tensor], Tensor], targets: Tensor, offset: Tensor | None = None
) -> Tensor:
    """(B, L) float32 nats of targets, a few tokens' logits at a time; `offset` (B, L, V) is added to these."""
    flat, right = hidden.flatten(0, 1), targets.flatten()
    size = max(1, CHUNK_ELEMENTS // max(1, logits(flat[:1]).shape[-1]))
    added = None if offset is None else offset.flatten(0, 1).split(size)
    found = []
    for piece, (h, t) in enumerate(zip(flat.split(size), right.split(size))):
        scores = logits(h).float()
        found.append(F.cross_entropy(scores if added is None else scores + added[piece], t, reduction="none"))
    return torch.cat(found).view_as(targets)


def score_text(nll: Nll, ids: NDArray[Any], *, length: int, stride: int | None = None, batch: int = 16) -> Floats:
    """(N - 1,) nats of every token but the first, each from a window of its own or one that slides.

    Args:
        nll: (inputs, targets) -> (B, L).
        ids: (N,) token ids.
        length: of a window, the longest context.
        stride: None: windows do not overlap, and a token sees half a window on average; s: each sees at least length - s.
        batch: windows at a time.

    Raises:
        InputError: the text is shorter than a window.
    """
    found = np.empty(len(ids) - 1, np.float64)
    with torch.no_grad():
        for inputs, targets, counted, first in cut_windows(ids, length, stride=stride, batch=batch):
            values = nll(inputs, targets)[:, -counted:].double().cpu().numpy()
            found[(np.asarray(first)[:, None] + np.arange(counted)).ravel() - 1] = values.ravel()
    return found


def loss_by_position(nll: Nll, ids: NDArray[Any], *, length: int, batch: int = 16, most_rows: int = 512) -> Floats:
    """(length,) mean nats at each place of a window: what a memory is for. One that remembers gets better to the end.

    Args:
        nll: (inputs, targets) -> (B, L).
        ids: (N,) token ids.
        length: of the windows, which may be longer than those of training.
        batch: windows at a time.
        most_rows: so many windows, spread over the text.

    Raises:
        InputError: the text is shorter than a window.
    """
    check_length(len(ids), length)
    rows = np.unique(np.linspace(0, (len(ids) - 1) // length - 1, most_rows).astype(np.int64))
    total = np.zeros(length)
    with torch.no_grad():
        for some in np.array_split(rows, max(1, -(-len(rows) // batch))):
            both = torch.from_numpy(ids[some[:, None] * length + np.arange(length + 1)].astype(np.int64))
            total += nll(both[:, :-1], both[:, 1:]).double().sum(0).cpu().numpy()
    return total / len(rows)


def cut_windows(ids: NDArray[Any], length: int, *, stride: int | None, batch: int) -> Iterator[Piece]:
    """(inputs, targets, counted, first) pieces in the order of the text; every token but the first counts once."""
    check_length(len(ids), length)
    step = length if stride is None else stride
    if not 1 <= step <= length:
        raise InputError(f"stride: expected 1 to the window's length {length}, got {stride}")

    def rows(starts: NDArray[np.int64], size: int, counted: int) -> Piece:
        both = torch.from_numpy(np.asarray(ids)[starts[:, None] + np.arange(size + 1)].astype(np.int64))
        return both[:, :-1], both[:, 1:], counted, starts + size - counted + 1

    last = len(ids) - 1  # the number of the last target
    ends = np.arange(length, last + 1, length)
    if step < length:
        yield rows(np.array([0]), length, length)
        ends = np.arange(length + step, last + 1, step)
    for begin in range(0, len(ends), batch):
        yield rows(ends[begin : begin + batch] - length, length, step)
    done = int(ends[-1]) if len(ends) else length
    if done < last:
        start = done if step == length else last - length
        yield rows(np.array([start]), last - start, last - done)
