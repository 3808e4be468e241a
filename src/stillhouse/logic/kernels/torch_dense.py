"""Clauses as a matrix product: what a GPU does best. Whole numbers in floats, exact below 2^24 (misses) and 2^53 (votes)."""

from __future__ import annotations

import numpy as np
import torch

from stillhouse.logic.clause_set import ClauseSet

ROWS = 4096  # rows at a time, for the memory that values take


class TorchDense:
    """A clause set on a device.

    Args:
        clauses: the set.
        device: None for a GPU if there is one.
    """

    def __init__(self, clauses: ClauseSet, device: torch.device | str | None = None) -> None:
        self.clauses = clauses
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        wanted, unwanted = clauses.dense()
        # misses = number wanted - bits (wanted - unwanted): capacity and that number are one offset
        self.kernel = torch.from_numpy(wanted.T.astype(np.float32) - unwanted.T.astype(np.float32)).to(self.device)
        self.offset = torch.from_numpy((clauses.capacity - wanted.sum(1)).astype(np.float32)).to(self.device)
        self.votes = torch.from_numpy(clauses.votes.astype(np.float64)).to(self.device)
        self.bias = torch.from_numpy(clauses.bias).to(self.device)

    def _values(self, bits: np.ndarray) -> torch.Tensor:
        rows = torch.from_numpy(np.ascontiguousarray(bits, dtype=bool)).to(self.device).float()
        precise = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = (
            False  # its sums would be exact too, but only by the way it is built today
        )
        try:
            return torch.relu(torch.addmm(self.offset, rows, self.kernel))
        finally:
            torch.backends.cuda.matmul.allow_tf32 = precise

    @torch.no_grad()
    def values(self, bits: np.ndarray) -> np.ndarray:
        """(B, C) int32 of bits (B, F)."""
        return np.asarray(self._values(bits).to(torch.int32).cpu().numpy())

    @torch.no_grad()
    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F)."""
        found = np.empty((len(bits), self.clauses.outputs), np.int64)
        for first in range(0, len(bits), ROWS):
            worth = (self._values(bits[first : first + ROWS]).double() @ self.votes).long() + self.bias
            found[first : first + ROWS] = worth.cpu().numpy()
        return found
