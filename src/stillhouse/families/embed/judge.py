"""Every student and every control on the same held-out rows: local and global figures apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stillhouse.families.embed.material import Material
from stillhouse.families.embed.metrics.neighbourhood import judge
from stillhouse.families.embed.metrics.similarity import sts_spearman
from stillhouse.families.embed.plan import EmbedRunConfig

CODES = "codes.npz"  # of an arm and seed: test (n, d)
KS = (1, 10, 100)
Encode = Callable[[NDArray[np.int64]], np.ndarray]  # rows of the store -> codes


def figures(material: Material, codes: np.ndarray, encode: Encode, config: EmbedRunConfig) -> dict[str, float]:
    """All of `metrics.neighbourhood.judge` on the test rows; with pairs `sts`, with poles `poles_right` (test and validation)."""
    n = len(codes)
    labels = material.data.labels(material.test)
    ks = tuple(k for k in KS if k < n / 2)
    found = judge(material.test_vectors, codes, ks=ks, metric=material.metric, labels=labels, k=neighbours_compared(n))
    wide = config.student.levels[0]
    if material.pairs is not None:
        pairs = material.pairs
        a, b = encode(pairs.first)[:, :wide], encode(pairs.second)[:, :wide]
        found["sts"] = sts_spearman(a, b, pairs.gold, metric="euclidean")
    if material.poles is not None:
        unseen = material.poles.outside(material.data.train)
        if len(unseen.rows):
            values = encode(unseen.rows)[np.arange(len(unseen.rows)), unseen.axes]
            found["poles_right"] = float((np.sign(values) == unseen.signs).mean())
    return found


def levels(material: Material, codes: np.ndarray, config: EmbedRunConfig) -> dict[str, float]:
    """Overlap and Spearman of every longer prefix, as `knn_overlap@10/30`: what each level adds."""
    found: dict[str, float] = {}
    widths = np.cumsum(config.student.levels)[1:]
    for width in (int(w) for w in widths if w <= codes.shape[1]):
        k = neighbours_compared(len(codes))
        kept = judge(material.test_vectors, codes[:, :width], ks=(k,), metric=material.metric, k=k)
        found[f"knn_overlap@10/{width}"] = kept[f"knn_overlap@{k}"]
        found[f"spearman/{width}"] = kept["spearman"]
    return found


def teacher_figures(material: Material) -> dict[str, float]:
    """The ceiling: what the teacher itself makes of pairs."""
    found: dict[str, float] = {}
    if material.pairs is not None:
        read, pairs = material.data.store.read, material.pairs
        found["sts"] = sts_spearman(read(pairs.first), read(pairs.second), pairs.gold)
    return found


def neighbours_compared(n: int) -> int:
    """Neighbours that are compared: 10, or fewer where there are not 22 rows."""
    return max(1, min(10, (n - 1) // 2))
