"""Anchors that a student is compared with: right, seeded, on rows that were not fitted."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.score import ANCHORS, fit_anchor

QUICK = [name for name in ANCHORS if name != "umap"]


@pytest.fixture(scope="module")
def rows():
    """Nine clusters along five axes of 24, and a little noise."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(9, 5)) * 3
    basis = np.linalg.qr(rng.normal(size=(24, 5)))[0]
    x = (centers[rng.integers(9, size=400)] + rng.normal(size=(400, 5))) @ basis.T + 0.1 * rng.normal(size=(400, 24))
    return x[:300], x[300:]


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
    fit_anchor("umap", rows[0], 5, normalize=False)
    assert seen["metric"] == "euclidean"
    with pytest.raises(InputError, match="expected at least 26 training rows, got 25"):
        fit_anchor("umap", rows[0][:25], 23)
