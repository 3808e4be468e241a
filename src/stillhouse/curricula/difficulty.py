"""How hard each sample is: ranks of several measures, fused. numpy only; N samples, K classes.

One direction everywhere: rank 1 is the easiest sample, and a high difficulty is a hard one. A low loss, a wide margin and a high
ROUGE-L are easy. The measures are the student's own (of a short warm-up, or of the untrained network fine-tuned for a moment),
since what is easy for the teacher need not be for the student.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.core.checks import InputError

Measure = Literal["loss", "margin", "rouge-l"]
Floats = NDArray[np.float64]

# which end of each measure is the easy one
EASY: dict[str, Literal["low", "high"]] = {"loss": "low", "margin": "high", "rouge-l": "high"}


def ranks(values: ArrayLike, *, easy: Literal["low", "high"]) -> Floats:
    """Ranks from 1, the easiest; equal values share the mean of their ranks.

    Args:
        values: (N,); one that is no number leaves no ranks.
        easy: which end of the values is easy.

    Returns:
        (N,) in [1, N].

    Example:
        >>> ranks([0.1, 2.0, 0.5, 0.5], easy="low").tolist()
        [1.0, 4.0, 2.5, 2.5]
    """
    from scipy.stats import rankdata  # slow to import, and a configuration imports this file

    found: Floats = rankdata(np.asarray(values) if easy == "low" else -np.asarray(values), method="average")
    return found


def reciprocal_rank_fusion(*ranked: ArrayLike, k: float = 60.0) -> Floats:
    """Sum over the lists of 1 / (k + rank): one score from several ranks; high where the ranks are near 1.

    Ranks are joined, not values, so that no measure wins by its unit. A large `k` flattens the difference at the top.

    Args:
        ranked: each (N,), 1 is the easiest.
        k: above 0; 60 as published.

    Returns:
        (N,), above 0.

    Example:
        First in both lists: 2 / 61.

        >>> reciprocal_rank_fusion([1, 2], [1, 2]).round(6).tolist()
        [0.032787, 0.032258]

    Source: Cormack, Clarke, Buettcher 2009 (SIGIR); as a difficulty: Liu et al. 2025, arXiv:2506.05695 (POCL).
    """
    found: Floats = np.sum([1.0 / (k + np.asarray(one, np.float64)) for one in ranked], axis=0)
    return found


def fuse(values: Mapping[str, ArrayLike], *, k: float = 60.0) -> Floats:
    """Difficulty of each sample from named measures, each ranked in its own direction; high is hard.

    Args:
        values: measure ("loss", "margin", "rouge-l") -> (N,).
        k: see `reciprocal_rank_fusion`.

    Returns:
        (N,) minus the `reciprocal_rank_fusion` of the ranks: below 0, only its order matters.

    Example:
        The first sample has the lower loss and the higher overlap.

        >>> fuse({"loss": [0.1, 3.0], "rouge-l": [0.9, 0.2]}).round(6).tolist()
        [-0.032787, -0.032258]
    """
    return -reciprocal_rank_fusion(*(ranks(v, easy=EASY[name]) for name, v in values.items()), k=k)


def score_difficulty(
    logits: ArrayLike, labels: ArrayLike, measures: Sequence[str] = ("loss", "margin"), *, k: float = 60.0
) -> Floats:
    """Difficulty of each sample of a classification task, from the scores of a model; high is hard.

    Args:
        logits: (N, K) scores of the model that judges, not its probabilities.
        labels: (N,) class numbers.
        measures: "loss", "margin" or both; "rouge-l" needs text (see `rouge_l` and `fuse`).
        k: see `reciprocal_rank_fusion`.

    Returns:
        (N,), as `Curriculum` takes them.

    Raises:
        InputError: a measure that needs text.

    Example:
        >>> score_difficulty([[4.0, 0.0], [0.0, 4.0], [1.0, 0.0]], [0, 0, 0]).argsort().tolist()
        [0, 2, 1]
    """
    known = {"loss": loss_of_samples, "margin": margin_of_samples}
    for name in measures:
        if name not in known:
            raise InputError(f"measures: expected some of {sorted(known)} for logits and labels, got {name!r}")
    return fuse({name: known[name](logits, labels) for name in measures}, k=k)


def loss_of_samples(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Cross-entropy of each sample in nats; low is easy.

    Args:
        logits: (N, K).
        labels: (N,) class numbers.

    Returns:
        (N,).

    Example:
        >>> loss_of_samples([[0.0, 0.0]], [1]).round(4).tolist()
        [0.6931]
    """
    from scipy.special import log_softmax

    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    found: Floats = -log_softmax(z, axis=1)[np.arange(len(y)), y]
    return found


def margin_of_samples(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Score of the right class less the best of the others; high is easy, below 0 is wrong.

    Args:
        logits: (N, K), K at least 2.
        labels: (N,) class numbers.

    Returns:
        (N,), in units of logits.

    Example:
        >>> margin_of_samples([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], [0, 1]).tolist()
        [1.0, -2.0]
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    rows = np.arange(len(y))
    others = z.copy()
    others[rows, y] = -np.inf
    found: Floats = z[rows, y] - others.max(axis=1)
    return found


def rouge_l(candidate: Sequence[Hashable], reference: Sequence[Hashable]) -> float:
    """F-measure of the longest common subsequence of two token lists, in [0, 1]; high is easy.

    Args:
        candidate: tokens that the student wrote; may be empty (0).
        reference: tokens of the reference.

    Returns:
        2 P R / (P + R), P and R being the length of that subsequence over each list's length.

    Example:
        "the cat sat" is common to both: P = 3/4, R = 3/6, F = 0.6.

        >>> rouge_l("the cat sat down".split(), "the cat sat on the mat".split())
        0.6

    Source: Lin 2004 (ROUGE: a package for automatic evaluation of summaries), section 3.
    """
    row = [0] * (len(reference) + 1)
    for token in candidate:
        before = 0  # the entry left above
        for j, other in enumerate(reference, start=1):
            above = row[j]
            row[j] = before + 1 if token == other else max(above, row[j - 1])
            before = above
    return 2 * row[-1] / (len(candidate) + len(reference))  # the same as 2 P R / (P + R)
