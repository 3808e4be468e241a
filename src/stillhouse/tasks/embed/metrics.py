"""How well a small embedding keeps the neighbours and the distances of a large one: on held-out rows, with chance beside it.

Legend: n rows, D teacher's width, d student's width, k neighbours. A row is never among its neighbours. Local figures
(trustworthiness, overlap, recall) and global ones (Spearman, triplets, CKA) trade off, so they are reported apart: one number
cannot order two methods.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.parts import Scores

Metric = Literal["cosine", "euclidean"]
Floats = NDArray[np.float64]
CHUNK_MIB = 32  # of one block of distances
PAIRS = 200_000  # random pairs, and random triplets, of the global figures; all pairs where there are fewer
K = 10  # neighbours of trustworthiness and of each row's overlap
KS = (1, 10, 100)  # sizes of the neighbourhoods whose overlap is reported, where there are twice as many rows
FEWEST = 22  # rows


def figures_of(
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    metric: Metric = "cosine",
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> Scores:
    """Everything that is reported of an embedding, over all n^2 ranks.

    Args:
        teacher: (n, D), held-out rows, 22 at least.
        student: (n, d), the same rows in the same order.
        metric: distance on the teacher's side; the student's is Euclidean.
        labels: (n) classes; with them the leave-one-out 1-NN accuracy is reported.
        seed: draws pairs and triplets, and the order in which equal distances are ranked.

    Returns:
        Items: `knn_overlap` (n,) share of the row's 10 nearest in the teacher that are among its 10 nearest in the student;
        `row_spearman` (n,) rank correlation of the row's distances to all others; 0 where one side's are all equal.
        Scalars of all rows together:
        Local: `trustworthiness` with `trustworthiness_chance`; for each K of 1, 10, 100 below n / 2 `knn_overlap@K` (share of the
        teacher's K nearest among the student's), `knn_chance@K` = K / (n - 1); `recall_10_in_100` (share of the teacher's 10
        nearest among the student's 100).
        Global: `spearman` of distances, `triplet_accuracy` (ties count half), `cka` (linear, debiased). A collapsed student
        (all rows equal) scores 0 in spearman and cka.
        With labels: `label_1nn`, `label_1nn_teacher`, `label_chance`.

    Raises:
        InputError: not 2-D, other rows, fewer than 22, NaN or infinite entries.

    Example:
        A student that puts out what the teacher puts out is perfect.

        >>> x = np.random.default_rng(0).normal(size=(60, 3))
        >>> found = figures_of(x, 2 * x, metric="euclidean")
        >>> [found.scalars[name] for name in ("trustworthiness", "knn_overlap@10")]
        [1.0, 1.0]
        >>> found.items["row_spearman"].min().item(), round(found.scalars["knn_chance@10"], 3)
        (1.0, 0.169)
    """
    import torch

    from stillhouse.losses.cka import linear_cka

    same_shape("student", student.shape[:1], teacher.shape[:1])
    if (n := len(teacher)) < FEWEST:
        raise InputError(f"expected at least {FEWEST} rows to compare neighbours on, got {n}")
    rng = np.random.default_rng(seed)
    # equal distances rank by position: shuffled, so that rows sorted by class give a collapsed student no neighbours
    order = rng.permutation(n)
    sides = checked_vectors("teacher", teacher, metric)[order], checked_vectors("student", student, "euclidean")[order]
    overlap, local = _local(*sides, None if labels is None else labels[order])
    items = {"knn_overlap": overlap, "row_spearman": _row_spearman(*sides)}
    scalars = {**local, **_global(*sides, rng), "cka": linear_cka(*map(torch.from_numpy, sides)).item()}
    return Scores({name: values[np.argsort(order)] for name, values in items.items()}, scalars)


def nearest_neighbors(vectors: np.ndarray, k: int, *, metric: Metric = "cosine") -> NDArray[np.int64]:
    """(n, k) the k nearest other rows of every row (n, D), exactly, nearest first.

    Raises:
        InputError: vectors as `figures_of`.

    Example:
        >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]]), 1, metric="euclidean").ravel().tolist()
        [1, 0, 1]
    """
    from sklearn.neighbors import NearestNeighbors

    # of rows of length 1 the nearest by distance are those by cosine
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(checked_vectors("vectors", vectors, metric))
    found: NDArray[np.int64] = search.kneighbors(return_distance=False)  # of every row but itself
    return found


def kept_neighbors(teacher: NDArray[Any], student: NDArray[Any]) -> NDArray[np.bool_]:
    """(n, k) which of the teacher's neighbours (n, k) are among the student's (n, K).

    Example:
        >>> kept_neighbors(np.array([[1, 2]]), np.array([[2, 3]])).tolist()
        [[False, True]]
    """
    found: NDArray[np.bool_] = (teacher[:, :, None] == student[:, None, :]).any(2)
    return found


def checked_vectors(name: str, vectors: np.ndarray, metric: Metric) -> Floats:
    """(n, D) finite float64, of length 1 where they are compared by cosine, else with their mean at 0, which keeps digits.

    Raises:
        InputError: not 2-D, empty, not numbers, or rows with NaN or infinite entries (the first is named).
    """
    found = np.asarray(vectors)
    if found.ndim != 2 or 0 in found.shape or found.dtype.kind not in "fiu":
        raise InputError(f"{name}: expected numbers (rows, width), got {found.dtype} of shape {found.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(found).all(1))):
        raise InputError(f"{name}: expected finite numbers, got NaN or infinite ones in row {bad[0]}")
    found = found.astype(np.float64)
    return unit_rows(found) if metric == "cosine" else found - found.mean(0)


def unit_rows(x: Floats) -> Floats:
    """(n, D) rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1.0)


# --------------------------------------------------------------------------------------------------- local and global


def _local(teacher: Floats, student: Floats, labels: NDArray[Any] | None) -> tuple[Floats, dict[str, float]]:
    """Each row's overlap, and of all rows: what depends on who is near whom."""
    from sklearn.manifold import trustworthiness

    n = len(teacher)
    ks = [k for k in KS if k < n / 2]
    theirs, ours = (nearest_neighbors(side, ks[-1], metric="euclidean") for side in (teacher, student))
    overlap = {k: kept_neighbors(theirs[:, :k], ours[:, :k]).mean(1) for k in ks}
    found = {
        "trustworthiness": float(trustworthiness(teacher, student, n_neighbors=K)),
        "trustworthiness_chance": 1.0 - (n - 1 - K) * (n - K) / ((n - 1) * (2 * n - 3 * K - 1)),
    }
    for k in ks:
        found |= {f"knn_overlap@{k}": float(overlap[k].mean()), f"knn_chance@{k}": k / (n - 1)}
    if 100 in ks:
        found["recall_10_in_100"] = float(kept_neighbors(theirs[:, :10], ours).mean())
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        found["label_1nn"], found["label_1nn_teacher"] = (
            float((labels[near[:, 0]] == labels).mean()) for near in (ours, theirs)
        )
        found["label_chance"] = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return overlap[K], found


def _row_spearman(teacher: Floats, student: Floats) -> Floats:
    """(n,) rank correlation of each row's distances to the others, with mid-ranks for ties."""
    from scipy.stats import rankdata
    from sklearn.metrics import pairwise_distances_chunked

    found, n, start = [], len(teacher), 0
    for chunks in zip(*(pairwise_distances_chunked(side, working_memory=CHUNK_MIB) for side in (teacher, student))):
        rows = np.arange(len(chunks[0]))
        others = np.ones((len(rows), n), bool)
        others[rows, start + rows] = False  # a row's distance to itself is left out
        a, b = (rankdata(chunk[others].reshape(len(rows), n - 1), axis=1) - n / 2 for chunk in chunks)
        spread = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
        found.append(np.where(spread > 0, (a * b).sum(1) / np.where(spread > 0, spread, 1.0), 0.0))
        start += len(rows)
    return np.concatenate(found)


def _global(teacher: Floats, student: Floats, rng: np.random.Generator) -> dict[str, float]:
    from scipy.stats import spearmanr

    n = len(teacher)
    i, j = np.triu_indices(n, 1) if n * (n - 1) // 2 <= PAIRS else random_pairs(n, PAIRS, rng)
    far, near = pair_distances(teacher, i, j), pair_distances(student, i, j)
    flat = any(np.ptp(side) <= 1e-12 * side.max() for side in (far, near))
    a, b = random_pairs(n, PAIRS, rng)
    c = rng.integers(n - 2, size=PAIRS)
    c = c + (c >= np.minimum(a, b))
    c = c + (c >= np.maximum(a, b))
    truth, guess = (np.sign(pair_distances(side, a, b) - pair_distances(side, a, c)) for side in (teacher, student))
    return {
        "spearman": 0.0 if flat else float(spearmanr(far, near).statistic),
        "triplet_accuracy": float((1.0 - np.abs(truth - guess) / 2.0).mean()),
    }


def random_pairs(n: int, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of two different rows of n, so many times."""
    i, j = rng.integers(n, size=count), rng.integers(n - 1, size=count)
    return i, j + (j >= i)


def pair_distances(x: NDArray[Any], i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
    """Distances (P) of the pairs (i, j) of rows (n, D), piece by piece."""
    pieces = np.array_split(np.arange(len(i)), 20)
    return np.concatenate([np.linalg.norm(x[i[piece]] - x[j[piece]], axis=1) for piece in pieces]).astype(np.float64)
