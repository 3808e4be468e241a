"""How well a small embedding keeps the neighbours and the distances of a large one: on held-out rows, with chance beside it.

Legend: n rows, D teacher's width, d student's width, b rows of one chunk. A rank counts from 1 (the nearest other row); a row
is never among its neighbours. Local figures (trustworthiness, overlap, recall) and global ones (Spearman, triplets,
CKA) trade off, so they are reported apart: one number cannot order two methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.labels import missing_labels, require_labels

Metric = Literal["cosine", "euclidean"]
Floats = NDArray[np.float64]
CHUNK_MIB = 32  # of one (b, n) block of distances
PAIRS = 200_000  # random pairs, and random triplets, of the global figures; all pairs where there are fewer
NARROW = 32  # width below which distances are differences; above it products, which are quicker, at some loss of digits
K = 10  # neighbours of trustworthiness and of each row's overlap
KS = (1, 10, 100)  # sizes of the neighbourhoods whose overlap is reported, where there are twice as many rows
FEWEST = 22  # rows


@dataclass(frozen=True)
class Figures:
    """What was measured of one embedding.

    Attributes:
        items: `knn_overlap` (n,): share of the row's 10 nearest in the teacher that are among its 10 nearest in the student.
            `row_spearman` (n,): rank correlation of the row's distances to all others; 0 where one side's are all equal.
        scalars: of all rows together, which belong to none of them.
    """

    items: dict[str, Floats]
    scalars: dict[str, float]


def figures_of(
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    metric: Metric = "cosine",
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> Figures:
    """Everything that is reported of an embedding, exact over all n^2 ranks, in chunks (n = 10 000 fits).

    Args:
        teacher: (n, D), held-out rows, 22 at least.
        student: (n, d), the same rows in the same order.
        metric: distance on the teacher's side; the student's is Euclidean.
        labels: (n) classes; with them the leave-one-out 1-NN accuracy is reported.
        seed: draws pairs and triplets, and the order in which equal distances are ranked.

    Returns:
        Each row's `knn_overlap` and `row_spearman`, and of all rows
        Local: `trustworthiness` with `trustworthiness_chance`; for each K of 1, 10, 100 below n / 2 `knn_overlap@K` (share of the
        teacher's K nearest among the student's), `knn_chance@K` = K / (n - 1); `recall_10_in_100` (share of the teacher's 10
        nearest among the student's 100).
        Global: `spearman` of distances, `triplet_accuracy` (ties count half) with `triplet_chance`, `cka` (linear, debiased). A
        collapsed student (all rows equal) scores 0 in spearman and cka.
        With labels: `label_1nn`, `label_1nn_teacher`, `label_chance`.

    Raises:
        InputError: not 2-D, other rows, fewer than 22, NaN or infinite entries, zero teacher rows under cosine.

    Example:
        A student that puts out what the teacher puts out is perfect.

        >>> x = np.random.default_rng(0).normal(size=(60, 3))
        >>> found = figures_of(x, 2 * x, metric="euclidean")
        >>> [found.scalars[name] for name in ("trustworthiness", "knn_overlap@10")]
        [1.0, 1.0]
        >>> found.items["row_spearman"].min().item(), round(found.scalars["knn_chance@10"], 3)
        (1.0, 0.169)

    Source: Venna & Kaski 2001 (trustworthiness).
    """
    teacher, student = checked_pair(teacher, student, metric)
    if (n := len(teacher)) < FEWEST:
        raise InputError(f"expected at least {FEWEST} rows to compare neighbours on, got {n}")
    rng = np.random.default_rng(seed)
    # equal distances rank by position: shuffled, so that rows sorted by class give a collapsed student no neighbours
    order = rng.permutation(n)
    spaces = Space(teacher[order], metric), Space(student[order], "euclidean")
    items, local = _local(*spaces, None if labels is None else _checked_labels(labels, n)[order])
    scalars = {
        **local,
        **_global(*spaces, PAIRS, rng),
        "cka": debiased_cka(spaces[0].vectors, spaces[1].vectors),
    }
    return Figures({name: values[np.argsort(order)] for name, values in items.items()}, scalars)


def nearest_neighbors(vectors: np.ndarray, k: int, *, metric: Metric = "cosine") -> NDArray[np.int64]:
    """The k nearest other rows of every row, exactly.

    Args:
        vectors: (n, D).
        k: how many, below n.
        metric: distance.

    Returns:
        (n, k) row numbers, nearest first.

    Raises:
        InputError: k not in 1..n - 1, or vectors as `figures_of`.

    Example:
        >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]]), 1, metric="euclidean").ravel().tolist()
        [1, 0, 1]
    """
    from sklearn.neighbors import NearestNeighbors

    space = Space(checked_vectors("vectors", vectors), metric)
    if not 1 <= k < (n := len(space.vectors)):
        raise InputError(f"k: expected 1 to {n - 1} (all {n} rows but the row itself), got {k}")
    # of rows of length 1 the nearest by distance are those by cosine
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(space.vectors)
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


def pair_spearman(codes_a: np.ndarray, codes_b: np.ndarray, gold: ArrayLike, metric: Metric = "cosine") -> float:
    """Spearman's rank correlation of the similarity of pairs with their gold scores: what STS-B reports, over 1.

    Args:
        codes_a: (P, d) of the first sentences.
        codes_b: (P, d) of the second.
        gold: (P) larger is more alike.
        metric: `cosine`, or `euclidean` for the negative distance (codes that have a meaningful length).

    Returns:
        In [-1, 1]; 0 where all pairs are equally alike (a collapsed student).

    Raises:
        InputError: shapes differ, fewer than 3 pairs, NaN, gold scores that are all equal.

    Example:
        Angles of 0, 45 and 90 degrees, scored 5, 3 and 1: the same order.

        >>> pair_spearman(np.array([[1.0, 0]] * 3), np.array([[1.0, 0], [1, 1], [0, 1]]), [5, 3, 1])
        1.0

    Source: Cer et al. 2017, arXiv:1708.00055 (STS-B); Reimers et al. 2016 (why Spearman and not Pearson).
    """
    from scipy.stats import spearmanr

    a, b = checked_vectors("codes_a", codes_a), checked_vectors("codes_b", codes_b)
    same_shape("codes_b", b.shape, a.shape)
    scores = np.asarray(gold, np.float64)
    same_shape("gold", scores.shape, (len(a),))
    if len(a) < 3 or not np.isfinite(scores).all() or scores.min() == scores.max():
        raise InputError(f"gold: expected at least 3 finite scores that differ, got {len(a)} pairs")
    if metric == "euclidean":
        alike = -np.linalg.norm(a - b, axis=1)
    else:
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        alike = np.einsum("pd,pd->p", a, b) / np.where(lengths > 0, lengths, 1.0)
    # rounding makes equal similarities differ, so "all equal" has a tolerance
    if np.ptp(alike) <= 1e-12 * max(1.0, float(np.abs(alike).max())):
        return 0.0
    return float(spearmanr(alike, scores).statistic)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centered kernel alignment without its small-sample bias: near 0 for unrelated sets even where D > n.

    Args:
        x: (n, D), n at least 4.
        y: (n, d).

    Returns:
        At most 1 (equal up to rotation, shift and scale); may be slightly below 0; 0 where one side is constant.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> round(debiased_cka(x, 3 * x[:, [2, 0, 1]] + 1), 6)
        1.0

    Source: Kornblith et al. 2019, arXiv:1905.00414; the unbiased estimate: Song et al. 2012; Nguyen et al. 2021, arXiv:2010.15327.
    """
    if len(x) != len(y) or len(x) < 4:
        raise InputError(f"cka: expected the same rows on both sides, at least 4, got {len(x)} and {len(y)}")
    x, y = (np.asarray(side, np.float64) - np.mean(side, axis=0, dtype=np.float64) for side in (x, y))
    alone = _unbiased_hsic(x, x) * _unbiased_hsic(y, y)
    return float(_unbiased_hsic(x, y) / math.sqrt(alone)) if alone > 0 else 0.0


# ------------------------------------------------------------------------------------------------------- distances


@dataclass(frozen=True)
class Space:
    """(n, D) float64 rows and how far apart they are; rows have unit length where the metric is cosine."""

    vectors: Floats
    metric: Metric

    def __post_init__(self) -> None:
        if self.metric == "cosine":
            norms = np.linalg.norm(self.vectors, axis=1, keepdims=True)
            object.__setattr__(self, "vectors", self.vectors / np.where(norms > 0, norms, 1.0))
        elif self.metric == "euclidean":
            object.__setattr__(self, "vectors", self.vectors - self.vectors.mean(0))  # keeps digits in the Gram form
        else:
            raise InputError(f"metric: expected 'cosine' or 'euclidean', got {self.metric!r}")

    def blocks(self) -> Iterator[Floats]:
        """Distances (b, n) of every chunk, in order; a row's distance to itself is -1, below all others."""
        from sklearn.metrics import pairwise_distances_chunked

        start, form = 0, "sqeuclidean" if self.vectors.shape[1] < NARROW else "euclidean"  # ranks are all they are for
        form = "cosine" if self.metric == "cosine" else form
        for distances in pairwise_distances_chunked(self.vectors, metric=form, working_memory=CHUNK_MIB):
            distances[np.arange(len(distances)), start + np.arange(len(distances))] = -1.0
            start += len(distances)
            yield distances

    def paired(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        """Distances (P) of the pairs (i, j)."""
        step = max(1, int(CHUNK_MIB * 2**17) // self.vectors.shape[1])
        return np.concatenate([self._of_pairs(i[s : s + step], j[s : s + step]) for s in range(0, len(i), step)])

    def _of_pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        if self.metric == "cosine":
            return np.maximum(1.0 - np.einsum("pd,pd->p", self.vectors[i], self.vectors[j]), 0.0)
        return np.linalg.norm(self.vectors[i] - self.vectors[j], axis=1)


# --------------------------------------------------------------------------------------------------- local and global


def _local(teacher: Space, student: Space, labels: NDArray[Any] | None) -> tuple[dict[str, Floats], dict[str, float]]:
    """Of each row and of all: what depends on who is near whom."""
    n = len(teacher.vectors)
    ks = [k for k in KS if k < n / 2]
    kept, orders, start = {k: np.empty(n) for k in ks}, np.empty(n), 0
    penalty = 0.0  # of student's neighbours that are far for the teacher
    recalled, right = 0, np.zeros(2)
    for far, near in zip(teacher.blocks(), student.blocks()):
        here = slice(start, start := start + len(far))
        ranks = _ranks(far), _ranks(near)  # the row itself has rank 0
        penalty += np.maximum(ranks[0] - K, 0)[(ranks[1] >= 1) & (ranks[1] <= K)].sum()
        if labels is not None:
            for side, rank in enumerate(ranks):
                right[side] += (labels[(rank == 1).argmax(1)] == labels[here]).sum()
        for k in ks:
            kept[k][here] = ((ranks[0] <= k) & (ranks[1] <= k)).sum(1) - 1
        recalled += int(((ranks[0] <= 10) & (ranks[1] <= 100)).sum()) - len(far)
        orders[here] = _row_spearman(far, near)
    found = {
        "trustworthiness": float(1.0 - penalty * 2.0 / (n * K * (2.0 * n - 3.0 * K - 1.0))),
        "trustworthiness_chance": 1.0 - (n - 1 - K) * (n - K) / ((n - 1) * (2 * n - 3 * K - 1)),
    }
    for k in ks:
        found |= {f"knn_overlap@{k}": float(kept[k].sum() / (n * k)), f"knn_chance@{k}": k / (n - 1)}
    if 100 in ks:
        found["recall_10_in_100"] = recalled / (10 * n)
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        found["label_1nn"], found["label_1nn_teacher"] = float(right[1] / n), float(right[0] / n)
        found["label_chance"] = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return {"knn_overlap": kept[K] / K, "row_spearman": orders}, found


def _ranks(distances: Floats) -> NDArray[np.int64]:
    """(b, n) place of every row by distance, equal ones in order; the row itself has 0."""
    order = np.argsort(distances, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), 1)
    return rank


def _row_spearman(far: Floats, near: Floats) -> Floats:
    """(b,) rank correlation with mid-ranks for ties; a row's distance to itself (-1), the least on both sides, is left out."""
    from scipy.stats import rankdata

    a, b = (rankdata(side, axis=1) for side in (far, near))
    rows = np.arange(len(a))
    itself = far.argmin(1)
    sums = []
    for ranks in (a, b):
        ranks -= ranks.mean(1, keepdims=True)
        # without the row itself, whose rank is 1: the others' mean rank is half a rank higher
        ranks -= 0.5
        ranks[rows, itself] = 0.0
        sums.append(np.square(ranks).sum(1))
    products = np.einsum("ij,ij->i", a, b)
    flat = (sums[0] <= 0) | (sums[1] <= 0)
    found: Floats = np.where(flat, 0.0, products / np.sqrt(np.where(flat, 1.0, sums[0] * sums[1])))
    return found


def _global(teacher: Space, student: Space, pairs: int, rng: np.random.Generator) -> dict[str, float]:
    from scipy.stats import spearmanr

    n = len(teacher.vectors)
    i, j = _pairs(n, pairs, rng)
    both = teacher.paired(i, j), student.paired(i, j)
    flat = any(np.ptp(side) <= 1e-12 * side.max() for side in both)
    a, b = rng.integers(n, size=pairs), rng.integers(n - 1, size=pairs)
    c = rng.integers(n - 2, size=pairs)
    b = b + (b >= a)
    low, high = np.minimum(a, b), np.maximum(a, b)
    c = c + (c >= low)
    c = c + (c >= high)
    truth, guess = (np.sign(space.paired(a, b) - space.paired(a, c)) for space in (teacher, student))
    return {
        "spearman": 0.0 if flat else float(spearmanr(*both).statistic),
        "triplet_accuracy": float((1.0 - np.abs(truth - guess) / 2.0).mean()),
        "triplet_chance": 0.5,
    }


def _pairs(n: int, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if n * (n - 1) // 2 <= count:
        i, j = np.triu_indices(n, 1)
        return i.astype(np.int64), j.astype(np.int64)
    i, j = rng.integers(n, size=count), rng.integers(n - 1, size=count)
    return i, j + (j >= i)


def _unbiased_hsic(x: Floats, y: Floats) -> float:
    """Without any (n, n) matrix: with linear kernels all sums over pairs are products of (n, D) and (n, d)."""
    n = len(x)
    square_x, square_y = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)
    rows_x, rows_y = x @ x.sum(0) - square_x, y @ y.sum(0) - square_y
    trace = np.square(x.T @ y).sum() - square_x @ square_y
    both = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return float((trace + both - 2.0 / (n - 2) * rows_x @ rows_y) / (n * (n - 3)))


# ------------------------------------------------------------------------------------------------------------ guards


def checked_vectors(name: str, vectors: np.ndarray) -> Floats:
    """(n, D) finite float64.

    Raises:
        InputError: not 2-D, empty, not numbers, or rows with NaN or infinite entries (the first are named).
    """
    found = np.asarray(vectors)
    if found.ndim != 2 or 0 in found.shape or found.dtype.kind not in "fiu":
        raise InputError(f"{name}: expected numbers (rows, width), got {found.dtype} of shape {found.shape}")
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise InputError(f"{name}: expected finite numbers, got NaN or infinite ones in {_named(bad)}")
    return found.astype(np.float64)


def checked_pair(teacher: np.ndarray, student: np.ndarray, metric: Metric) -> tuple[Floats, Floats]:
    """Both sides as finite float64 with the same rows; under cosine a teacher's zero row has no direction to compare."""
    teacher, student = checked_vectors("teacher", teacher), checked_vectors("student", student)
    if len(teacher) != len(student):
        raise InputError(f"student: expected the teacher's {len(teacher)} rows, got {len(student)}")
    zero = np.flatnonzero(~teacher.any(1))
    if metric == "cosine" and len(zero):
        raise InputError(f"teacher: expected rows with a direction (cosine), got zeros in {_named(zero)}")
    return teacher, student


def _checked_labels(labels: np.ndarray, n: int) -> NDArray[Any]:
    found = np.asarray(labels)
    if found.shape != (n,):
        raise InputError(f"labels: expected shape ({n},), got {found.shape}")
    require_labels(missing_labels(labels), "labels", "test")
    return found


def _named(rows: NDArray[Any]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}" + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
