"""Rows of equal length cut out of token ids: what is read, and what comes next.

Shapes: N tokens, R rows, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows

if TYPE_CHECKING:
    from torch import Tensor


class Windows:
    """Non-overlapping rows of a text for training: row i reads tokens i L to i L + L - 1; its targets are the ones after each.

    Args:
        ids: (N,) token ids, memory-mapped or not.
        length: L.

    Raises:
        InputError: a length below 1, or a text shorter than one row and its next token.

    Example:
        >>> rows = Windows(np.arange(10, dtype=np.uint16), 4)
        >>> len(rows), rows(np.array([1]))[0].tolist(), rows(np.array([1]))[1].tolist()
        (2, [[4, 5, 6, 7]], [[5, 6, 7, 8]])
    """

    def __init__(self, ids: NDArray[Any], length: int) -> None:
        check_length(len(ids), length)
        self.ids, self.length = ids, length

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.length

    def __call__(self, rows: NDArray[Any] | Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, L) int64 of row numbers (B,)."""
        import torch

        at = np.asarray(rows, np.int64)[:, None] * self.length + np.arange(self.length + 1)
        both = torch.from_numpy(self.ids[at].astype(np.int64))
        return both[:, :-1], both[:, 1:]

    def sample(self, count: int, batch: int = 16) -> Iterator[Tensor]:
        """Inputs (B, L) of `count` rows from anywhere in the text, drawn by a fixed seed, some at a time."""
        rows = sample_rows(len(self), count)
        return (self(some)[0] for some in np.split(rows, range(batch, len(rows), batch)))


def check_length(tokens: int, length: int) -> None:
    """Refuse a text without a single whole window.

    Raises:
        InputError: it has fewer tokens than a window and the token after it.
    """
    if length < 1:
        raise InputError(f"window: expected at least 1 token, got {length}")
    if tokens < length + 1:
        raise InputError(f"text: expected at least {length + 1} tokens (a window and the one after it), got {tokens}")
