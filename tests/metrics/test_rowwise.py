"""Row by row figures are those of scipy and of `judge`."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from stillhouse.core.checks import InputError
from stillhouse.families.embed.metrics import neighbourhood
from stillhouse.families.embed.metrics.neighbourhood import judge
from stillhouse.families.embed.metrics.rowwise import row_quality


def sides(n=80, seed=0):
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, 12))
    return teacher, teacher[:, :3] + 0.3 * rng.normal(size=(n, 3))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_row_spearman_is_scipys(metric, monkeypatch):
    """Also across chunks: a row's own distance must be left out, not ranked."""
    monkeypatch.setattr(neighbourhood, "CHUNK_ENTRIES", 80 * 7)
    teacher, student = sides()
    said = row_quality(teacher, student, metric=metric)["row_spearman"]
    far, near = cdist(teacher, teacher, metric), cdist(student, student)
    others = ~np.eye(80, dtype=bool)
    expected = [spearmanr(far[i][others[i]], near[i][others[i]]).statistic for i in range(80)]
    np.testing.assert_allclose(said, expected, atol=1e-12)


def test_the_mean_overlap_is_judges():
    """Two ways to one number."""
    teacher, student = sides(120)
    said = row_quality(teacher, student, k=10)["knn_overlap"]
    assert said.mean() == pytest.approx(judge(teacher, student, ks=(10,))["knn_overlap@10"])


def test_the_best_and_a_collapsed_student():
    """A student that says nothing must not score by the order of the rows."""
    teacher, _ = sides()
    unit = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
    best = row_quality(teacher, unit)
    assert best["knn_overlap"].min() == 1
    assert best["row_spearman"] == pytest.approx(1)
    assert np.abs(row_quality(teacher, np.zeros((80, 3)))["row_spearman"]).max() == 0


@pytest.mark.parametrize("k", [0, 79])
def test_k_out_of_range_is_named(k):
    """80 rows have 79 neighbours, and one must be left to be wrong about."""
    with pytest.raises(InputError, match="k: expected 1 to 78"):
        row_quality(*sides(), k=k)
