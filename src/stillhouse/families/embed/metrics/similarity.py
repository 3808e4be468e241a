"""Semantic textual similarity: do codes order sentence pairs as people do?

Legend: P pairs, d width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, same_shape
from stillhouse.families.embed.metrics.neighbourhood import Metric, checked_vectors


def sts_spearman(
    codes_a: np.ndarray, codes_b: np.ndarray, gold: Sequence[float] | NDArray[np.float64], metric: Metric = "cosine"
) -> float:
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

        >>> sts_spearman(np.array([[1.0, 0]] * 3), np.array([[1.0, 0], [1, 1], [0, 1]]), [5, 3, 1])
        1.0

    Source: Cer et al. 2017, arXiv:1708.00055 (STS-B); Reimers et al. 2016 (why Spearman and not Pearson).
    """
    from scipy.stats import spearmanr

    alike = similarities(codes_a, codes_b, metric)
    scores = np.asarray(gold, np.float64)
    same_shape("gold", scores.shape, alike.shape)
    if len(alike) < 3 or not np.isfinite(scores).all() or scores.min() == scores.max():
        raise InputError(f"gold: expected at least 3 finite scores that differ, got {len(scores)} pairs")
    # rounding makes equal similarities differ, so "all equal" has a tolerance
    if np.ptp(alike) <= 1e-12 * max(1.0, float(np.abs(alike).max())):
        return 0.0
    return float(spearmanr(alike, scores).statistic)


def similarities(codes_a: np.ndarray, codes_b: np.ndarray, metric: Metric = "cosine") -> NDArray[np.float64]:
    """(P) how alike the rows of a pair are: the cosine (0 where one is zero), or the negative Euclidean distance.

    Example:
        >>> similarities(np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]]), "euclidean").tolist()
        [-5.0]
    """
    a, b = checked_vectors("codes_a", codes_a), checked_vectors("codes_b", codes_b)
    same_shape("codes_b", b.shape, a.shape)
    if metric == "euclidean":
        return -np.linalg.norm(a - b, axis=1)
    if metric != "cosine":
        raise InputError(f"metric: expected 'cosine' or 'euclidean', got {metric!r}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("pd,pd->p", a, b) / np.where(lengths > 0, lengths, 1.0)
