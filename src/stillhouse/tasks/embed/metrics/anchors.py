"""What a distilled embedding must be better than: the usual ways to few dimensions, fitted on training rows only.

Legend: N training rows, n held-out rows, D teacher's width, d few dimensions. Every anchor has a transform for rows that it has
not seen, so that all are judged on the same held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError, nearest
from stillhouse.tasks.embed.metrics.neighbourhood import checked_vectors

Floats = NDArray[np.float64]
Transform = Callable[[np.ndarray], Floats]

HIDDEN, AUTOENCODER_STEPS, AUTOENCODER_BATCH = 256, 2000, 256


def fit_anchor(name: str, train: np.ndarray, width: int, *, seed: int = 0, normalize: bool = True) -> Transform:
    """Fit one anchor and return its transform.

    Args:
        name: one of `ANCHORS`:
            `pca`: the projection that keeps most variance.
            `random-projection`: Gaussian, the least that any method must beat.
            `truncation`: the first d coordinates, scaled to unit length; good only for teachers trained for it (Matryoshka).
            `autoencoder`: D-256-d-256-D with GELU, squared error.
            `umap`: d components, 15 neighbours; by cosine where rows are scaled to unit length.
        train: (N, D).
        width: d, below D.
        seed: of everything random.
        normalize: scale rows to unit length first, as a teacher judged by cosine has them.

    Returns:
        (n, D) -> (n, d) float64.

    Raises:
        InputError: unknown name, a package that is not installed, d not in 1..D - 1, too few rows, NaN, another width later.

    Example:
        Rows on a line through the origin: one principal component has it all.

        >>> x = np.outer(np.arange(1.0, 7.0), [3.0, 4.0])
        >>> codes = fit_anchor("pca", x, 1, normalize=False)(x).ravel()
        >>> np.abs(np.diff(codes)).round(6).tolist()
        [5.0, 5.0, 5.0, 5.0, 5.0]

    Source: Kusupati et al. 2022, arXiv:2205.13147 (Matryoshka); Hinton & Salakhutdinov 2006 (autoencoder); McInnes et al. 2018,
        arXiv:1802.03426 (UMAP).
    """
    if name not in _FITS:
        raise InputError(f"anchor: no {name!r}; {nearest(name, _FITS)}")
    rows = checked_vectors("train", train)
    if not 1 <= width < rows.shape[1]:
        raise InputError(f"width: expected 1 to {rows.shape[1] - 1} (below the teacher's), got {width}")
    if len(rows) <= width + 1:
        raise InputError(f"train: expected more than {width + 1} rows for {width} dimensions, got {len(rows)}")
    prepare = _unit if normalize else _plain
    fitted = _FITS[name](prepare(rows), width, seed)

    def transform(vectors: np.ndarray) -> Floats:
        found = checked_vectors("vectors", vectors)
        if found.shape[1] != rows.shape[1]:
            raise InputError(f"vectors: expected width {rows.shape[1]} as in training, got {found.shape[1]}")
        return np.asarray(fitted(prepare(found)), np.float64)

    return transform


def _plain(x: Floats) -> Floats:
    return x


def _unit(x: Floats) -> Floats:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, 1.0)


def _pca(train: Floats, width: int, seed: int) -> Transform:
    from sklearn.decomposition import PCA

    # both solvers are exact: a randomised one is a weaker control than the axes at which the student starts
    solver = "covariance_eigh" if len(train) >= train.shape[1] else "full"
    return PCA(width, svd_solver=solver).fit(train).transform


def _random_projection(train: Floats, width: int, seed: int) -> Transform:
    from sklearn.random_projection import GaussianRandomProjection

    return GaussianRandomProjection(width, random_state=seed).fit(train).transform


def _truncation(train: Floats, width: int, seed: int) -> Transform:
    return lambda x: _unit(x[:, :width])


def _autoencoder(train: Floats, width: int, seed: int) -> Transform:
    """Inputs are centered and divided by one number, so that no coordinate is blown up; float32."""
    import torch
    from torch import nn

    mean, scale = train.mean(0), train.std() or 1.0
    x = torch.from_numpy(((train - mean) / scale).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        down = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.GELU(), nn.Linear(HIDDEN, width))
        up = nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, x.shape[1]))
        both = nn.Sequential(down, up)
        optimizer = torch.optim.AdamW(both.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=AUTOENCODER_STEPS)
        for _ in range(AUTOENCODER_STEPS):
            some = x[torch.randint(len(x), (min(AUTOENCODER_BATCH, len(x)),))]
            loss = (both(some) - some).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def transform(vectors: np.ndarray) -> Floats:
        found: Floats = down(torch.from_numpy(((vectors - mean) / scale).astype(np.float32))).double().numpy()
        return found

    return transform


def _umap(train: Floats, width: int, seed: int) -> Transform:
    import warnings

    try:
        import umap
    except ImportError:
        raise InputError("anchor 'umap' needs umap-learn: pip install 'stillhouse[embeddings]'") from None
    few = min(15, len(train) - 1)
    lengths = np.linalg.norm(train, axis=1)
    metric = "cosine" if np.allclose(lengths[lengths > 0], 1.0) else "euclidean"
    if len(train) < width + 3:  # its spectral start asks for width + 1 eigenvectors of fewer
        raise InputError(f"train: expected at least {width + 3} rows for UMAP in {width} dimensions, got {len(train)}")
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="n_jobs value"
        )  # a fixed seed means one thread, which is what we ask for
        fitted = umap.UMAP(n_components=width, n_neighbors=few, metric=metric, random_state=seed, n_jobs=1).fit(
            train.astype(np.float32)
        )

    def transform(x: np.ndarray) -> Floats:
        found: Floats = fitted.transform(x.astype(np.float32))
        return found

    return transform


_FITS: dict[str, Callable[[Floats, int, int], Transform]] = {
    "pca": _pca,
    "random-projection": _random_projection,
    "truncation": _truncation,
    "autoencoder": _autoencoder,
    "umap": _umap,
}
ANCHORS = tuple(_FITS)
