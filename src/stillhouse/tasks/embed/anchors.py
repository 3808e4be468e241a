"""What a distilled embedding must be better than: the usual ways to few dimensions, fitted on training rows only.

Legend: N training rows, n held-out rows, D teacher's width, d few dimensions. Every anchor has a transform for rows that it has
not seen, so that all are judged on the same held-out rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.metrics import Floats, unit_rows

Transform = Callable[[np.ndarray], np.ndarray]
UMAP_NEIGHBORS = 15


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
