"""Anchors that a student is compared with, and the similarity of pairs: right, seeded, on rows that were not fitted."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.metrics import anchors
from stillhouse.tasks.embed.metrics.anchors import ANCHORS, fit_anchor
from stillhouse.tasks.embed.metrics.neighbourhood import figures_of, pair_spearman

PACKAGE = {"umap": "umap"}
QUICK = [name for name in ANCHORS if name not in PACKAGE]


@pytest.fixture(scope="module")
def rows():
    """Nine clusters along five axes of 24, and a little noise."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(9, 5)) * 3
    basis = np.linalg.qr(rng.normal(size=(24, 5)))[0]
    x = (centers[rng.integers(9, size=400)] + rng.normal(size=(400, 5))) @ basis.T + 0.1 * rng.normal(size=(400, 24))
    return x[:300], x[300:]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(anchors, "AUTOENCODER_STEPS", 200)


@pytest.mark.parametrize("name", QUICK)
def test_rows_that_were_not_seen_are_placed_each_by_itself(rows, name):
    """An anchor fitted on the rows that judge it, or that looks at the whole batch, is no fair anchor."""
    train, held = rows
    place = fit_anchor(name, train, 5, seed=3)
    said = place(held)
    assert said.shape == (100, 5)
    assert np.isfinite(said).all()
    np.testing.assert_allclose(np.concatenate([place(held[:1]), place(held[1:])]), said, atol=1e-5)
    np.testing.assert_array_equal(fit_anchor(name, train, 5, seed=3)(held), said)


def test_pca_is_scikit_learns_up_to_sign(rows):
    """Fitted on training rows, applied to others."""
    train, held = rows
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]
    expected = PCA(5, svd_solver="full").fit(unit[0]).transform(unit[1])
    np.testing.assert_allclose(np.abs(fit_anchor("pca", train, 5)(held)), np.abs(expected), atol=1e-8)
    plain = PCA(5, svd_solver="full").fit(train).transform(held)
    np.testing.assert_allclose(np.abs(fit_anchor("pca", train, 5, normalize=False)(held)), np.abs(plain), atol=1e-8)


def test_umap_is_fitted_on_training_rows_by_cosine(rows, monkeypatch):
    """Fitted anew on the held-out rows it would look better than any method can be; its compilation is not waited for here."""
    seen = {}

    class Stub:
        def __init__(self, **options):
            seen.update(options)

        def fit(self, x):
            seen["rows"] = len(x)
            return self

        def transform(self, x):
            seen["placed"] = len(x)
            return x[:, :5]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Stub))
    assert fit_anchor("umap", rows[0], 5, seed=7)(rows[1]).shape == (100, 5)
    assert (seen["rows"], seen["placed"]) == (300, 100)
    assert (seen["metric"], seen["n_components"], seen["random_state"]) == ("cosine", 5, 7)
    fit_anchor("umap", rows[0] * np.linspace(1, 9, len(rows[0]))[:, None], 5, normalize=False)
    assert seen["metric"] == "euclidean"
    with pytest.raises(InputError, match="at least 26 rows for UMAP in 23"):
        fit_anchor("umap", rows[0][:25], 23)


@pytest.mark.slow  # UMAP compiles for half a minute
@pytest.mark.parametrize("name", PACKAGE)
def test_manifold_methods_place_new_rows_among_their_neighbours(rows, name):
    """The real packages: a transform of rows that were not fitted, the same for the same seed."""
    pytest.importorskip(PACKAGE[name])
    train, held = rows
    said = fit_anchor(name, train[:150], 2, seed=0)(held)
    assert said.shape == (100, 2)
    assert figures_of(held, said).scalars["knn_overlap@10"] > 0.3
    np.testing.assert_array_equal(fit_anchor(name, train[:150], 2, seed=0)(held), said)


def test_missing_packages_are_named(rows, monkeypatch):
    """With what to install."""
    for name, package in PACKAGE.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=f"anchor '{name}' needs {package}.*pip install"):
            fit_anchor(name, rows[0], 5)


def test_bad_input_is_told(rows):
    """Name, expected, got."""
    train, held = rows
    with pytest.raises(InputError, match="no 'tsne'; known: autoencoder, pca"):
        fit_anchor("tsne", train, 5)
    for width in (0, 24, 50):
        with pytest.raises(InputError, match=f"width: expected 1 to 23 .*got {width}"):
            fit_anchor("pca", train, width)
    with pytest.raises(InputError, match="train: expected more than 6 rows for 5 dimensions, got 6"):
        fit_anchor("pca", train[:6], 5)
    with pytest.raises(InputError, match="vectors: expected width 24 as in training, got 23"):
        fit_anchor("pca", train, 5)(held[:, 1:])
    with pytest.raises(InputError, match=r"vectors: expected finite numbers, .* row 2"):
        fit_anchor("pca", train, 5)(np.where(np.arange(100)[:, None] == 2, np.nan, held))


# -------------------------------------------------------------------------------------------------------- similarity


def test_similarity_of_pairs_is_scipys():
    """Distance not negated gives the same number with the wrong sign."""
    rng = np.random.default_rng(0)
    a, b, gold = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)), rng.uniform(0, 5, size=60)
    cosine = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b)]
    assert pair_spearman(a, b, gold) == pytest.approx(spearmanr(cosine, gold).statistic, abs=1e-12)
    near = a + 0.01 * (5 - gold)[:, None]
    assert pair_spearman(a, near, gold, "euclidean") == pytest.approx(1.0)
