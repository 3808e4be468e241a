"""What vectors, students and controls are worth, all on held-out rows: near and far apart, beside noise.

Legend: n rows, D teacher's width, d numbers of a code, k neighbours.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.folder import student_folder
from stillhouse.core.labels import sample_rows
from stillhouse.core.parts import Scores, TeacherCheck
from stillhouse.core.records import ABOUT, RUN, read_object
from stillhouse.tasks.embed.config import EmbeddingStudentConfig, EmbedRunConfig
from stillhouse.tasks.embed.data import Index, VectorStore, open_vectors
from stillhouse.tasks.embed.material import EmbeddingData
from stillhouse.tasks.embed.metrics import Floats, Metric, figures_of, kept_neighbors, nearest_neighbors, unit_rows
from stillhouse.tasks.embed.numpy_embedder import NumpyEmbedder

CODES = "codes.npz"  # of an arm and seed: test (n, d)
EACH_LEVEL = ("knn_overlap@10", "spearman")  # also of every longer prefix of a code, as `spearman/30`
GRADE_NUMBERS = 5  # principal axes whose neighbours vectors are graded by
NOISE_ROWS = 1000  # of noise, at least, to know its neighbours by
AXES_ROWS = 20_000
MOST_ROWS = 5000  # that are judged
UMAP_NEIGHBORS = 15
Transform = Callable[[np.ndarray], np.ndarray]


def score(
    material: EmbeddingData, encode: Callable[[np.ndarray], np.ndarray], student: EmbeddingStudentConfig
) -> Scores:
    """`figures_of` the codes of the test rows, at every level; with poles `poles_right` (test and validation).

    Args:
        material: of the run.
        encode: vectors (n, D) -> codes (n, d).
        student: how many numbers the prefixes of a code have.
    """
    store, (first, *longer) = material.store, student.widths
    wide, labels = store.read(material.test), None if store.labels is None else store.labels[material.test]
    codes = np.asarray(encode(wide), np.float32)
    found = figures_of(wide, codes[:, :first], metric=material.metric, labels=labels)
    scalars = dict(found.scalars)
    if material.poles is not None:
        unseen = material.poles.where(~np.isin(material.poles.rows, material.train.rows))
        if len(unseen.rows):
            values = encode(store.read(unseen.rows))[np.arange(len(unseen.rows)), unseen.axes]
            scalars["poles_right"] = float((np.sign(values) == unseen.signs).mean())
    for width in (width for width in longer if width <= codes.shape[1]):
        more = figures_of(wide, codes[:, :width], metric=material.metric).scalars
        scalars |= {f"{name}/{width}": more[name] for name in EACH_LEVEL}
    return Scores(found.items, scalars, {CODES: {"test": codes}})


def teacher_check(name: str, data: EmbeddingData, rows_judged: int, k: int) -> TeacherCheck:
    """Whether near and far mean anything: neighbours of held-out rows that five principal axes keep, against noise.

    Five numbers of noise keep some neighbours too, the more the narrower it is: chance is what they keep of as many normal
    rows of this width. The axes are fitted on one half of the training rows and judged on the other, which is more rows
    than a small validation split has.
    """
    rows = data.sample(AXES_ROWS).numpy()
    judged = rows[1::2]
    judged = judged[sample_rows(len(judged), rows_judged)]
    k = min(k, (len(judged) - 1) // 2)
    width = min(GRADE_NUMBERS, rows.shape[1] - 1)
    codes = fit_anchor("pca", rows[::2], width, normalize=data.normalize)(judged)
    kept = share_kept(judged, [codes], k, data.metric)
    # one draw of few rows is itself luck
    rng, draws = np.random.default_rng(0), -(-NOISE_ROWS // len(judged))
    chance = np.concatenate([_of_noise(judged.shape, rng, width, k, data.metric) for _ in range(draws)])
    # rows that are near to each other share neighbours, so that n rows are worth fewer independent ones: twice the 95 %
    # interval of the difference
    spread = 2 * 1.96 * math.sqrt((kept.var() + chance.var()) / len(judged))
    found, facts = float(kept.mean()), {"width": rows.shape[1], "rows": len(judged)}
    metric = f"share of the {k} nearest that {width} principal axes keep"
    return TeacherCheck(name, found, found - spread, float(chance.mean()), metric, facts)


def share_kept(wide: np.ndarray, codes: Sequence[np.ndarray], k: int, metric: Metric) -> NDArray[np.float64]:
    """(n,) share of each row's k nearest that its codes keep; mean over several codes."""
    near = nearest_neighbors(wide, k, metric=metric)
    found = [kept_neighbors(near, nearest_neighbors(c, k, metric="euclidean")).mean(1) for c in codes]
    return np.asarray(np.mean(found, axis=0))


def _of_noise(shape: tuple[int, ...], rng: np.random.Generator, width: int, k: int, metric: Metric) -> np.ndarray:
    """(n,) share of its k nearest that each row of normal noise keeps in so many numbers."""
    noise = rng.normal(size=shape)
    lengths = np.linalg.norm(noise, axis=1, keepdims=True) if metric == "cosine" else 1.0
    # all directions of normal noise are alike: any of its numbers are as good as principal axes
    some = [(noise / lengths)[:, at : at + width] for at in range(0, min(5 * width, shape[1] - width + 1), width)]
    return share_kept(noise, some, k, metric)


def fit_anchor(name: str, train: np.ndarray, width: int, *, seed: int = 0, normalize: bool = True) -> Transform:
    """Fit one anchor and return its transform.

    Args:
        name: one of `ANCHORS`:
            `pca`: the projection that keeps most variance.
            `random-projection`: Gaussian, the least that any method must beat.
            `truncation`: the first d coordinates, scaled to unit length; good only for teachers trained for it (Matryoshka).
            `umap`: d components, 15 neighbours; by cosine where rows are scaled to unit length.
        train: (N, D).
        width: d, below D.
        seed: of everything random.
        normalize: scale rows to unit length first, as a teacher judged by cosine has them.

    Returns:
        (n, D) -> (n, d).

    Raises:
        InputError: a package that is not installed, too few rows.

    Example:
        Rows on a line through the origin: one principal component has it all.

        >>> x = np.outer(np.arange(1.0, 7.0), [3.0, 4.0])
        >>> codes = fit_anchor("pca", x, 1, normalize=False)(x).ravel()
        >>> np.abs(np.diff(codes)).round(6).tolist()
        [5.0, 5.0, 5.0, 5.0, 5.0]

    Source: Kusupati et al. 2022, arXiv:2205.13147 (Matryoshka); McInnes et al. 2018, arXiv:1802.03426 (UMAP).
    """

    def prepared(vectors: np.ndarray) -> Floats:
        wide = np.asarray(vectors, np.float64)
        return unit_rows(wide) if normalize else wide

    if len(train) < width + 3:
        raise InputError(f"anchor {name!r}: expected at least {width + 3} training rows, got {len(train)}")
    fitted = ANCHORS[name](prepared(train), width, seed, normalize)
    return lambda vectors: np.asarray(fitted(prepared(vectors)), np.float64)


def _pca(train: Floats, width: int, seed: int, normalize: bool) -> Transform:
    from sklearn.decomposition import PCA

    # both solvers are exact: a randomised one is a weaker control than the axes at which the student starts
    solver = "covariance_eigh" if len(train) >= train.shape[1] else "full"
    return PCA(width, svd_solver=solver).fit(train).transform


def _random_projection(train: Floats, width: int, seed: int, normalize: bool) -> Transform:
    from sklearn.random_projection import GaussianRandomProjection

    return GaussianRandomProjection(width, random_state=seed).fit(train).transform


def _truncation(train: Floats, width: int, seed: int, normalize: bool) -> Transform:
    return lambda x: unit_rows(x[:, :width])


def _umap(train: Floats, width: int, seed: int, normalize: bool) -> Transform:
    import umap

    metric, few = "cosine" if normalize else "euclidean", min(UMAP_NEIGHBORS, len(train) - 1)
    with warnings.catch_warnings():
        # a fixed seed means one thread, which is what we ask for
        warnings.filterwarnings("ignore", message="n_jobs value")
        reducer = umap.UMAP(n_components=width, n_neighbors=few, metric=metric, random_state=seed, n_jobs=1)
        fitted = reducer.fit(train.astype(np.float32))
    return lambda x: fitted.transform(x.astype(np.float32))


ANCHORS: dict[str, Callable[[Floats, int, int, bool], Transform]] = {
    "pca": _pca,
    "random-projection": _random_projection,
    "truncation": _truncation,
    "umap": _umap,
}


# ------------------------------------------------------------------------------------------ a student after its run


def evaluate(
    folder: Path, vectors: str | None = None, *, key: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Figures of a student: on the test rows of its run, or on vectors that are given.

    Args:
        folder: of the student.
        vectors: other vectors of the same teacher.
        key: which array of them.
        limit: rows that are judged, at most. [5000]

    Returns:
        `data`, `rows`, means of what each row keeps, and all of `figures_of`.

    Raises:
        InputError: no student, vectors of another width, too few rows.
    """
    seen = looked_at(folder, vectors, key, MOST_ROWS if limit is None else limit)
    found = figures_of(seen.wide, seen.codes, metric=seen.metric, labels=seen.labels)
    means = {name: float(values.mean()) for name, values in found.items.items()}
    return {"data": seen.store.path.name, "rows": len(seen.rows), **means, **found.scalars}


@dataclass(frozen=True)
class Seen:
    """Rows of a store as a student sees them: (n) numbers, (n, D) vectors, (n, d) codes of the first level, (n) labels."""

    student: NumpyEmbedder
    store: VectorStore
    rows: Index
    wide: NDArray[np.float32]
    codes: NDArray[np.float32]
    labels: NDArray[Any] | None
    metric: Metric


def looked_at(folder: Path, vectors: str | None, key: str | None, limit: int) -> Seen:
    """At most so many rows of what a student is looked at with: the test split of its run, or a file."""
    student = NumpyEmbedder.load(student_folder(folder))
    if vectors is None:
        material = run_material(folder)
        store, rows = material.store, material.test
    else:
        store = open_vectors(vectors, key=key)
        rows = np.setdiff1d(np.arange(len(store)), store.zero_rows)
    rows = rows[sample_rows(len(rows), max(0, limit))]
    wide, labels = store.read(rows), None if store.labels is None else store.labels[rows]
    codes = student.encode(wide)[:, : student.card["levels"][0]]
    return Seen(student, store, rows, wide, codes, labels, "cosine" if student.card["normalize"] else "euclidean")


def run_material(folder: Path) -> EmbeddingData:
    """The data of the run that a student belongs to, as it saw them: split again, a test row may be one it was trained on.

    Raises:
        InputError: it lies in no run of embeddings, or the file of vectors is another one by now.
    """
    here = folder.resolve()
    place = next((p for p in (here, *here.parents) if (p / RUN).is_file()), None)
    about = {} if place is None else read_object(place / RUN, {**ABOUT, "data": dict[str, Any]})
    if about.get("kind") != "embed":
        raise InputError("it belongs to no run, and no --vectors are given")
    material = EmbeddingData(parse(EmbedRunConfig, about["config"]))
    if about["data"].get("test_sha256") != material.facts["test_sha256"]:
        raise InputError(
            f"{material.store.path}: it is not what the run in {place} was made of (other rows or splits); put the file back, "
            "or give --vectors"
        )
    return material
