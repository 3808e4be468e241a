"""How well a small embedding keeps the neighbours and the distances of a large one: on held-out rows, with chance beside it.

Legend: n rows, D teacher's width, d student's width, b rows of one chunk. A rank counts from 1 (the nearest other row); a row
is never among its neighbours. Local figures (trustworthiness, continuity, overlap, recall) and global ones (Spearman, stress,
triplets) trade off, so they are reported apart: one number cannot order two methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels, require_labels

Metric = Literal["cosine", "euclidean"]
Floats = NDArray[np.float64]
CHUNK_ENTRIES = 4_000_000  # of one (b, n) block of distances: 32 MB in float64
PAIRS = 200_000  # random pairs, and random triplets, of the global figures; all pairs where there are fewer
CDIST_WIDTH = 32  # below it scipy's subtraction is quick; above it the Gram form is, at some loss of digits


def judge(
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    ks: Sequence[int] = (1, 10, 100),
    metric: Metric = "cosine",
    labels: np.ndarray | None = None,
    k: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """Everything that is reported of an embedding, exact over all n^2 ranks, in chunks (n = 10 000 fits).

    Args:
        teacher: (n, D), held-out rows.
        student: (n, d), the same rows in the same order.
        ks: sizes of the neighbourhoods whose overlap is reported.
        metric: distance on the teacher's side; the student's is Euclidean.
        labels: (n) classes; with them the leave-one-out 1-NN accuracy is reported.
        k: neighbours of trustworthiness, continuity and hubness.
        seed: draws pairs and triplets, and the order in which equal distances are ranked.

    Returns:
        Local: `trustworthiness`, `continuity`, `trustworthiness_chance`; for each K of `ks` `knn_overlap@K` (share of the
        teacher's K nearest among the student's), `knn_chance@K` = K / (n - 1);
        `recall_10_in_100` (share of the teacher's 10 nearest among the student's 100) where `ks` has both;
        Global: `spearman`, `pearson` of distances, `stress` (relative, at the best scale), `triplet_accuracy` (ties count
        half) with `triplet_chance`, `cka` (linear, debiased).
        Health: `effective_rank` (exp of the entropy of the student's covariance eigenvalues, at most d), `hubness` (skewness
        of how often a row is among others' k nearest), `hubness_teacher`.
        With labels: `label_1nn`, `label_1nn_teacher`, `label_chance`. A collapsed student (all rows equal) scores 0 in
        spearman, pearson, cka and effective_rank, and 1 in stress.

    Raises:
        InputError: not 2-D, other rows, NaN or infinite entries, zero teacher rows under cosine, k or one of ks not below n / 2.

    Example:
        A student that puts out what the teacher puts out is perfect.

        >>> x = np.random.default_rng(0).normal(size=(60, 3))
        >>> found = judge(x, 2 * x, ks=(1, 10), metric="euclidean")
        >>> found["trustworthiness"], found["continuity"], found["knn_overlap@10"], round(found["knn_chance@10"], 3)
        (1.0, 1.0, 1.0, 0.169)

    Source: Venna & Kaski 2001 (trustworthiness, continuity); Radovanovic et al. 2010 (hubness);
    Roy & Vetterli 2007 (effective rank).
    """
    teacher, student = checked_pair(teacher, student, metric)
    n = len(teacher)
    for name, size in [("k", k), *[("ks", size) for size in ks]]:
        if not 1 <= size < n / 2:
            raise InputError(f"{name}: expected neighbours from 1 to below half of the {n} rows, got {size}")
    rng = np.random.default_rng(seed)
    # equal distances rank by position: shuffled, so that rows sorted by class give a collapsed student no neighbours
    order = rng.permutation(n)
    spaces = Space(teacher[order], metric), Space(student[order], "euclidean")
    classes = None if labels is None else _checked_labels(labels, n)[order]
    return {
        **_local(*spaces, tuple(ks), k, classes),
        **_global(*spaces, PAIRS, rng),
        "cka": debiased_cka(spaces[0].vectors, spaces[1].vectors),
        "effective_rank": effective_rank(student),
    }


def knn_overlap(
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    k: int = 10,
    metric: Metric = "cosine",
    student_metric: Metric = "euclidean",
) -> float:
    """Share of the teacher's k nearest that are among the student's k nearest; the quick figure for a training loop.

    Args:
        teacher: (n, D).
        student: (n, d).
        k: neighbours, below n.
        metric: distance on the teacher's side.
        student_metric: distance on the student's side.

    Returns:
        In [0, 1]; chance is k / (n - 1).

    Raises:
        InputError: as `judge`; k not in 1..n - 1.

    Example:
        Four points on a line; the student moves the last one beside the first: those two lose their nearest.

        >>> line, moved = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[0.0], [1.0], [3.0], [-0.5]])
        >>> knn_overlap(line, moved, k=1, metric="euclidean")
        0.5
    """
    teacher, student = checked_pair(teacher, student, metric)
    theirs = nearest_neighbors(teacher, k, metric=metric)
    ours = nearest_neighbors(student, k, metric=student_metric)
    return overlap_of_neighbors(theirs, ours)


def nearest_neighbors(vectors: np.ndarray, k: int, *, metric: Metric = "cosine") -> NDArray[np.int64]:
    """The k nearest other rows of every row, exactly and in chunks.

    Args:
        vectors: (n, D).
        k: how many, below n.
        metric: distance.

    Returns:
        (n, k) row numbers, nearest first.

    Raises:
        InputError: k not in 1..n - 1, or vectors as `judge`.

    Example:
        >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]]), 1, metric="euclidean").ravel().tolist()
        [1, 0, 1]
    """
    space = Space(checked_vectors("vectors", vectors), metric)
    n = len(space.vectors)
    if not 1 <= k < n:
        raise InputError(f"k: expected 1 to {n - 1} (all {n} rows but the row itself), got {k}")
    found = np.empty((n, k), np.int64)
    for start, distances in space.blocks():
        nearest = np.argpartition(distances, k, axis=1)[:, : k + 1] if k + 1 < n else np.argsort(distances, axis=1)
        by_distance = np.argsort(np.take_along_axis(distances, nearest, 1), axis=1, kind="stable")
        found[start : start + len(distances)] = np.take_along_axis(nearest, by_distance, 1)[:, 1:]
    return found


def overlap_of_neighbors(teacher: NDArray[np.int64], student: NDArray[np.int64]) -> float:
    """Mean share of the teacher's neighbours (n, k) that are among the student's (n, K), K >= k.

    Example:
        >>> overlap_of_neighbors(np.array([[1, 2]]), np.array([[2, 3]]))
        0.5
    """
    if teacher.ndim != 2 or student.ndim != 2 or len(teacher) != len(student) or student.shape[1] < teacher.shape[1]:
        raise InputError(f"neighbours: expected (n, k) and (n, K >= k), got {teacher.shape} and {student.shape}")
    n = len(teacher)
    row = np.arange(n)[:, None] * (int(max(teacher.max(), student.max())) + 1)
    return float(np.isin(teacher + row, student + row).mean())


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


def effective_rank(vectors: np.ndarray) -> float:
    """exp(entropy) of the shares of variance along the principal axes: d where all are used alike, 0 where nothing varies.

    Example:
        >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
        2.0
    """
    centered = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    eigenvalues = np.linalg.svd(centered, compute_uv=False) ** 2
    # rounding leaves a variance of about eps squared where there is none
    if eigenvalues.sum() <= np.square(vectors, dtype=np.float64).sum() * 1e-24:
        return 0.0
    shares = eigenvalues / eigenvalues.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


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

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """First row and distances (b, n) of every chunk, in order; a row's distance to itself is -1, below all others."""
        n = len(self.vectors)
        step = max(1, CHUNK_ENTRIES // n)
        for start in range(0, n, step):
            some = self.vectors[start : start + step]
            distances = self._between(some)
            distances[np.arange(len(some)), start + np.arange(len(some))] = -1.0
            yield start, distances

    def paired(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        """Distances (P) of the pairs (i, j)."""
        step = max(1, CHUNK_ENTRIES // self.vectors.shape[1])
        parts = [self._of_pairs(i[s : s + step], j[s : s + step]) for s in range(0, len(i), step)]
        return np.concatenate(parts)

    def _of_pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
        if self.metric == "cosine":
            return np.maximum(1.0 - np.einsum("pd,pd->p", self.vectors[i], self.vectors[j]), 0.0)
        return np.linalg.norm(self.vectors[i] - self.vectors[j], axis=1)

    def _between(self, some: Floats) -> Floats:
        if self.metric == "cosine":
            return np.maximum(1.0 - some @ self.vectors.T, 0.0)
        if some.shape[1] < CDIST_WIDTH:
            from scipy.spatial.distance import cdist

            return cdist(some, self.vectors, "sqeuclidean")  # ranks are all that blocks are for
        squares = np.einsum("nd,nd->n", self.vectors, self.vectors)
        lengths = np.einsum("nd,nd->n", some, some)
        return np.maximum(lengths[:, None] + squares - 2.0 * some @ self.vectors.T, 0.0)


# --------------------------------------------------------------------------------------------------- local and global


def _local(
    teacher: Space, student: Space, ks: tuple[int, ...], k: int, labels: NDArray[Any] | None
) -> dict[str, float]:
    n = len(teacher.vectors)
    penalties = np.zeros(2)  # of student's neighbours that are far for the teacher, and the reverse
    worst = np.zeros(n, np.int64)  # [r]: pairs whose larger rank is r
    seen = np.zeros((2, n), np.int64)  # how often a row is among the k nearest of others
    recalled, right = 0, np.zeros(2)
    for (start, far), (_, near) in zip(teacher.blocks(), student.blocks()):
        (order_t, rank_t), (order_s, rank_s) = _ranks(far), _ranks(near)
        for side, (order, rank) in enumerate([(order_s, rank_t), (order_t, rank_s)]):
            excess = np.take_along_axis(rank, order[:, 1 : k + 1], 1) - k
            penalties[side] += excess[excess > 0].sum()
        for side, order in enumerate([order_t, order_s]):
            seen[side] += np.bincount(order[:, 1 : k + 1].ravel(), minlength=n)
            if labels is not None:
                right[side] += (labels[order[:, 1]] == labels[start : start + len(order)]).sum()
        recalled += int(((rank_t <= 10) & (rank_s <= 100)).sum()) - len(rank_t)  # rank 0 is the row itself
        worst += np.bincount(np.maximum(rank_t, rank_s).ravel(), minlength=n)
    agreed = np.cumsum(worst[1:]) / (n * np.arange(1.0, n))  # Q_NX(K), K = 1..n - 1
    scale = 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0))
    trust, cont = 1.0 - penalties * scale
    found = {
        "trustworthiness": float(trust),
        "continuity": float(cont),
        "trustworthiness_chance": 1.0 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1)),
    }
    for size in ks:
        overlap, chance = float(agreed[size - 1]), size / (n - 1)
        found |= {f"knn_overlap@{size}": overlap, f"knn_chance@{size}": chance}
    if {10, 100} <= set(ks):
        found["recall_10_in_100"] = recalled / (10 * n)
    found["hubness"], found["hubness_teacher"] = _skewness(seen[1]), _skewness(seen[0])
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        found["label_1nn"], found["label_1nn_teacher"] = float(right[1] / n), float(right[0] / n)
        found["label_chance"] = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return found


def _ranks(distances: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by distance (b, n) and the rank of every row (b, n); the row itself has rank 0."""
    order = np.argsort(distances, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), 1)
    return order, rank


def _skewness(counts: NDArray[np.int64]) -> float:
    from scipy.stats import skew

    return float(skew(counts)) if counts.min() < counts.max() else 0.0


def _global(teacher: Space, student: Space, pairs: int, rng: np.random.Generator) -> dict[str, float]:
    from scipy.stats import pearsonr, spearmanr

    n = len(teacher.vectors)
    i, j = _pairs(n, pairs, rng)
    far, near = teacher.paired(i, j), student.paired(i, j)
    flat = far.max() - far.min() <= 1e-12 * far.max() or near.max() - near.min() <= 1e-12 * near.max()
    energy = float(near @ near)
    best = float(far @ near) / energy if energy > 0 else 0.0
    a, b = rng.integers(n, size=pairs), rng.integers(n - 1, size=pairs)
    c = rng.integers(n - 2, size=pairs)
    b = b + (b >= a)
    low, high = np.minimum(a, b), np.maximum(a, b)
    c = c + (c >= low)
    c = c + (c >= high)
    truth, guess = (np.sign(space.paired(a, b) - space.paired(a, c)) for space in (teacher, student))
    return {
        "spearman": 0.0 if flat else float(spearmanr(far, near).statistic),
        "pearson": 0.0 if flat else float(pearsonr(far, near).statistic),
        "stress": float(np.linalg.norm(far - best * near) / np.linalg.norm(far)) if far.any() else 0.0,
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
