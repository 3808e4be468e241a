"""A flat machine evaluated with bit operations: eight literals a byte, misses by counting ones, no (B, C) product of floats.

Exact: bits and include masks are hard, so packed and dense agree on every clause. For sizes and machines where it pays see
`benchmarks/tsetlin/packed.sh`.

Legend: B images, F bits, C clauses, K classes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.classification.data import ImageData
from stillhouse.core.checks import InputError
from stillhouse.core.records import write_json

PACKED = "packed.json"


def pack(bits: np.ndarray) -> np.ndarray:
    """(..., F) of 0 and 1 to (..., ceil(F / 64)) uint64, padded with zeros."""
    packed = np.packbits(bits.astype(bool), axis=-1)
    short = -packed.shape[-1] % 8
    return np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, short)]).view(np.uint64)


class PackedTM:
    """The clauses and votes of a trained `FlatTM`.

    Args:
        model: with clauses of the capacity rule.

    Raises:
        InputError: another model, or another rule.

    Source: the word-wise evaluation of Tsetlin.jl (Hnilov 2025, arXiv:2508.08350).
    """

    def __init__(self, model: Any) -> None:
        bank = getattr(getattr(model, "core", None), "bank", None) or getattr(
            getattr(model.core, "last", None), "bank", None
        )
        if not hasattr(model, "bits") or bank is None or bank.operator != "capacity":
            raise InputError(
                f"bit-packed evaluation: expected a flat machine of the capacity rule, got {type(model).__name__}"
            )
        if len(list(model.banks())) != 1:
            raise InputError(
                "bit-packed evaluation: expected one layer of clauses; deep machines have numbers between layers"
            )
        model.eval()
        self.model, self.failures = model, bank.failures
        with torch.no_grad():
            positive, negated = bank.masks()
            self.capacity = bank.capacity(positive, negated).numpy().astype(np.int64)
        self.positive, self.negated = pack(positive.detach().numpy()), pack(negated.detach().numpy())

    def strength(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) in {0, 1/LF, ...} of packed images (B, words)."""
        misses = np.zeros((len(bits), len(self.capacity)), dtype=np.int64)
        for word in range(bits.shape[1]):  # word by word: (B, C) stays in cache, (B, C, words) would not
            x = bits[:, word, None]
            misses += np.bitwise_count(self.positive[None, :, word] & ~x)
            misses += np.bitwise_count(self.negated[None, :, word] & x)
        return np.maximum(self.capacity[None] - misses, 0) / self.failures

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, K) of raw pixels."""
        strength = torch.from_numpy(self.strength(pack(self.model.bits(pixels).numpy()))).float()
        core = self.model.core
        if hasattr(core, "last"):
            voted: Tensor = core.last.tally(strength)
            return voted
        return torch.nn.functional.linear(strength, core.vote_weight())


@torch.no_grad()
def compare_packed(model: Any, data: ImageData, folder: Path, batch_size: int) -> dict[str, Any]:
    """The whole test split both ways: seconds, and whether the answers are the same; written as `packed.json`."""
    packed = PackedTM(model)

    def timed(answer: Any) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        packed_answers = np.concatenate(
            [answer(batch.inputs).argmax(1).numpy() for batch in data.test.batches(batch_size)]
        )
        return time.perf_counter() - started, packed_answers

    (dense_seconds, dense), (packed_seconds, packed_answers) = timed(model), timed(packed.logits)
    labels = data.test.labels.numpy()
    found = {
        "dense_seconds": dense_seconds,
        "packed_seconds": packed_seconds,
        "images": len(labels),
        "same_answers": float((dense == packed_answers).mean()),
        "dense_accuracy": float((dense == labels).mean()),
        "packed_accuracy": float((packed_answers == labels).mean()),
    }
    write_json(folder / PACKED, found)
    return found
