"""Who is near whom among the training rows: computed once, so that batches can bring true neighbors together.

A random batch of a large corpus holds almost none of a row's neighbors. Up to 50 000 rows the graph is exact. Beyond, rows are
put into random blocks and the search stays within a block, on the first principal axes: a neighbor found so is among the
nearest of a sample, which is what a batch needs, at a cost that grows with N and not with N^2.

Legend: N rows, D width, k neighbors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError

Read = Callable[[NDArray[np.int64]], Tensor]
EXACT_ROWS = 50_000
BLOCK_ROWS = 16_384
SAMPLE_ROWS = 20_000
REDUCED = 64  # principal axes that a search within blocks looks at


def neighbor_graph(
    read: Read,
    rows: int,
    *,
    k: int,
    form: Literal["auto", "exact", "blocks"] = "auto",
    seed: int = 0,
) -> NDArray[np.int32]:
    """The k nearest other rows of every row, by Euclidean distance (cosine, for rows of length 1).

    Args:
        read: positions (n) -> vectors (n, D).
        rows: N.
        k: how many, below N; a block smaller than that gives fewer, and repeats them.
        form: `exact` over all, `blocks` within random blocks; `auto` is exact up to 50 000 rows.
        seed: draws blocks and the sample that axes are fitted on.

    Returns:
        (N, k) positions, nearest first.

    Raises:
        InputError: k not in 1..N - 1.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> neighbor_graph(lambda at: line[torch.from_numpy(at)], 3, k=1).ravel().tolist()
        [1, 0, 1]
    """
    if not 1 <= k < rows:
        raise InputError(f"k: expected 1 to {rows - 1} (all {rows} rows but the row itself), got {k}")
    everything = np.arange(rows, dtype=np.int64)
    if form == "exact" or (form == "auto" and rows <= EXACT_ROWS):
        return _within(read(everything), k).astype(np.int32)
    rng = np.random.default_rng(seed)
    reduced = _reduced(read, everything, rng)
    order = rng.permutation(rows)
    graph = np.empty((rows, k), np.int32)
    for block in np.array_split(order, -(-rows // BLOCK_ROWS)):
        found = _within(reduced[torch.from_numpy(block)], min(k, len(block) - 1))
        found = found[:, np.arange(k) % found.shape[1]]
        graph[block] = block[found]
    return graph


def _within(x: Tensor, k: int) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors

    found: NDArray[np.int64] = (
        NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors(return_distance=False)
    )
    return found


def _reduced(read: Read, everything: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    from sklearn.decomposition import PCA

    sample = read(np.sort(rng.permutation(everything)[:SAMPLE_ROWS]))
    axes = PCA(min(REDUCED, *sample.shape), svd_solver="covariance_eigh").fit(sample)
    chunks = np.array_split(everything, -(-len(everything) // BLOCK_ROWS))
    return torch.cat([torch.from_numpy(axes.transform(read(some))) for some in chunks])
