"""What vectors, students and controls are worth, all on the same held-out rows: near and far apart, beside noise and in examples.

Legend: n rows, D teacher's width, d numbers of a code, k neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.core.task import Scores, TeacherCheck
from stillhouse.tasks.embed.data.vectors import VectorStore
from stillhouse.tasks.embed.material import EmbeddingData
from stillhouse.tasks.embed.metrics.anchors import fit_anchor
from stillhouse.tasks.embed.metrics.neighbourhood import (
    Metric,
    figures_of,
    kept_neighbors,
    nearest_neighbors,
    pair_spearman,
)
from stillhouse.tasks.embed.students import widths

CODES = "codes.npz"  # of an arm and seed: test (n, d)
EACH_LEVEL = ("knn_overlap@10", "spearman")  # also of every longer prefix of a code, as `spearman/30`
GRADE_NUMBERS = 5  # principal axes whose neighbours vectors are graded by
GRADE_ROWS = 12  # fewest rows whose neighbours are compared
NOISE_ROWS = 1000  # of noise, at least, to know its neighbours by
AXES_ROWS = 20_000
SHOWN, NEAREST = 4, 3  # rows, and neighbours of each, that a page shows in words
LONGEST = 160  # letters of a text


def score(
    material: EmbeddingData,
    encode: Callable[[NDArray[np.int64]], np.ndarray],
    levels: Sequence[int],
    facts: Mapping[str, Any],
) -> Scores:
    """`figures_of` the codes of the test rows; with pairs `sts`, with poles `poles_right` (test and validation).

    Args:
        material: of the run.
        encode: row numbers of the store -> codes (n, d).
        levels: numbers of each level.
        facts: further entries of the result.
    """
    codes = np.asarray(encode(material.test), np.float32)
    labels, (wide, *longer) = material.data.labels(material.test), widths(levels)
    found = figures_of(material.test_vectors, codes[:, :wide], metric=material.metric, labels=labels)
    scalars = dict(found.scalars)
    if (pairs := material.pairs) is not None:
        first, second = (encode(rows)[:, :wide] for rows in (pairs.first, pairs.second))
        scalars["sts"] = pair_spearman(first, second, pairs.gold, metric="euclidean")
    if material.poles is not None and len((unseen := material.poles.outside(material.data.train)).rows):
        values = encode(unseen.rows)[np.arange(len(unseen.rows)), unseen.axes]
        scalars["poles_right"] = float((np.sign(values) == unseen.signs).mean())
    for width in (width for width in longer if width <= codes.shape[1]):
        more = figures_of(material.test_vectors, codes[:, :width], metric=material.metric).scalars
        scalars |= {f"{name}/{width}": more[name] for name in EACH_LEVEL}
    return Scores(found.items, scalars, {CODES: {"test": codes}}, facts)


def teacher_check(name: str, data: EmbeddingData, rows_judged: int, k: int) -> TeacherCheck:
    """Whether near and far mean anything: neighbours of held-out rows that five principal axes keep, against noise.

    Five numbers of noise keep some neighbours too, the more the narrower it is: chance is what they keep of as many normal
    rows of this width. The axes are fitted on one half of the training rows and judged on the other, which is more rows
    than a small validation split has.
    """
    rows = data.anchor_vectors(AXES_ROWS)
    judged = rows[1::2]
    judged = judged[sample_rows(len(judged), rows_judged)]
    if len(judged) < GRADE_ROWS:
        raise InputError(
            f"{data.data.store.path}: expected at least {2 * GRADE_ROWS} training rows to compare vectors with noise, got "
            f"{len(rows)}"
        )
    k = min(k, (len(judged) - 1) // 2)
    width = min(GRADE_NUMBERS, rows.shape[1] - 1)
    codes = fit_anchor("pca", rows[::2], width, normalize=data.normalize)(judged)
    kept = share_kept(judged, [codes], k, data.metric)
    # one draw of few rows is itself luck
    rng, draws = np.random.default_rng(0), -(-NOISE_ROWS // len(judged))
    chance = np.concatenate([_of_noise(judged.shape, rng, width, k, data.normalize) for _ in range(draws)])
    # rows that are near to each other share neighbours, so that n rows are worth fewer independent ones: twice the 95 %
    # interval of the difference
    spread = 2 * 1.96 * math.sqrt((kept.var() + chance.var()) / len(judged))
    facts = {"width": data.data.width, "rows": len(judged), "guessing": k / (len(judged) - 1)}
    if (pairs := data.pairs) is not None:
        first, second = (data.data.store.read(side) for side in (pairs.first, pairs.second))
        facts["sts"] = pair_spearman(first, second, pairs.gold)
    found = float(kept.mean())
    metric = f"share of the {k} nearest that {width} principal axes keep"
    return TeacherCheck(name, found, found - spread, float(chance.mean()), metric, facts)


def share_kept(wide: np.ndarray, codes: Sequence[np.ndarray], k: int, metric: Metric) -> np.ndarray:
    """(n,) share of each row's k nearest that its codes keep; mean over several codes."""
    near = nearest_neighbors(wide, k, metric=metric)
    found = [kept_neighbors(near, nearest_neighbors(c, k, metric="euclidean")).mean(1) for c in codes]
    return np.asarray(np.mean(found, axis=0))


def _of_noise(shape: tuple[int, ...], rng: np.random.Generator, width: int, k: int, normalize: bool) -> np.ndarray:
    """(n,) share of its k nearest that each row of normal noise keeps in so many numbers."""
    noise = rng.normal(size=shape)
    if normalize:
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    # all directions of normal noise are alike: any of its numbers are as good as principal axes
    some = [noise[:, at : at + width] for at in range(0, min(5 * width, shape[1] - width + 1), width)]
    return share_kept(noise, some, k, "euclidean")


def neighbour_samples(
    store: VectorStore, rows: np.ndarray, vectors: np.ndarray, codes: np.ndarray, metric: Metric
) -> list[dict[str, Any]]:
    """Rows with their nearest others by vectors and by codes, in words; none where rows have neither text nor label.

    Args:
        store: where the rows lie, with their texts and labels.
        rows: (n) of the store, of which some are shown, evenly spread.
        vectors: (n, D) of the teacher.
        codes: (n, d) of the student.
        metric: by which vectors are compared; codes are by distance.

    Returns:
        `row`, and the nearest three to it by `teacher` and by `student`.
    """
    if (store.texts is None and store.labels is None) or len(rows) <= NEAREST:
        return []
    near = {
        "teacher": nearest_neighbors(vectors, NEAREST, metric=metric),
        "student": nearest_neighbors(codes, NEAREST, metric="euclidean"),
    }
    chosen = np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)
    return [
        {
            "row": _words(store, int(rows[one])),
            **{side: [_words(store, int(rows[n])) for n in found[one]] for side, found in near.items()},
        }
        for one in chosen
    ]


def _words(store: VectorStore, row: int) -> str:
    """A row's text, cut where it is long; its number and label where it has none."""
    if store.texts is None:
        assert store.labels is not None
        return f"row {row} (label {store.labels[row]})"
    text = str(store.texts[row])
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()}..."
