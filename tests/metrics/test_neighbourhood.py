"""Judgement of embeddings: against scikit-learn, closed forms and chance, never against its own output."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed import metrics as neighbourhood
from stillhouse.tasks.embed.metrics import figures_of, kept_neighbors, nearest_neighbors


def judge(teacher, student, **choices):
    """The figures of all rows together."""
    return figures_of(teacher, student, **choices).scalars


def related(n=300, width=12, seed=0):
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, width))
    return teacher, teacher[:, :4] + 0.3 * rng.normal(size=(n, 4))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_trustworthiness_is_scikit_learns(metric):
    """A rank that counts from 0, or the two roles swapped, still gives a number that looks right."""
    teacher, student = related()
    said = judge(teacher, student, metric=metric)
    assert abs(said["trustworthiness"] - trustworthiness(teacher, student, n_neighbors=10, metric=metric)) < 1e-12


def test_overlap_and_recall_are_those_of_scikit_learns_neighbours():
    """The row itself must not count as its own neighbour: it would add 1 / k everywhere."""
    teacher, student = related()
    said = judge(teacher, student)
    for k in (1, 10, 100):
        theirs, ours = (
            NearestNeighbors(n_neighbors=k, metric=metric).fit(x).kneighbors(return_distance=False)
            for x, metric in ((teacher, "cosine"), (student, "euclidean"))
        )
        expected = np.mean([len(set(a) & set(b)) / k for a, b in zip(theirs, ours)])
        assert abs(said[f"knn_overlap@{k}"] - expected) < 1e-12
        near = nearest_neighbors(teacher, k), nearest_neighbors(student, k, metric="euclidean")
        assert abs(kept_neighbors(*near).mean() - expected) < 1e-12
    top = NearestNeighbors(n_neighbors=10, metric="cosine").fit(teacher).kneighbors(return_distance=False)
    assert abs(said["recall_10_in_100"] - np.mean([len(set(a) & set(b)) / 10 for a, b in zip(top, ours)])) < 1e-12


def test_the_identity_is_perfect():
    """T8: every local and global figure at its upper end."""
    x = related()[0]
    said = judge(x, x, metric="euclidean", labels=np.arange(300) % 3)
    for name in (
        "trustworthiness",
        "knn_overlap@1",
        "knn_overlap@100",
        "recall_10_in_100",
    ):
        assert said[name] == pytest.approx(1.0, abs=1e-12)
    for name in ("spearman", "triplet_accuracy", "cka"):
        assert said[name] == pytest.approx(1.0, abs=1e-9)
    assert said["label_1nn"] == said["label_1nn_teacher"]


def test_global_figures_over_all_pairs_are_scipys():
    """With few rows nothing is sampled, so the numbers are exact."""
    teacher, student = related(n=80)
    said = judge(teacher, student, metric="euclidean")
    far, near = pdist(teacher), pdist(student)
    assert said["spearman"] == pytest.approx(spearmanr(far, near).statistic, abs=1e-12)


def test_a_collapsed_student_is_told_from_a_good_one():
    """All rows equal: no NaN, no neighbour by the accident that rows are sorted by class."""
    teacher = related()[0]
    labels = np.repeat([0, 1, 2], 100)
    said = judge(teacher, np.ones((300, 5)), labels=labels)
    assert said["spearman"] == said["cka"] == 0.0
    assert said["triplet_accuracy"] == 0.5
    assert said["knn_overlap@10"] < 0.06
    assert all(np.isfinite(value) for value in said.values())


def test_bad_input_is_named():
    """What came and what was expected, with the row's number."""
    teacher, student = related()
    holed = student.copy()
    holed[[3, 7], 0] = np.nan
    for ours, words in (
        (holed, "student: expected finite .* row 3"),
        (student[1:], r"student: expected shape \(300,\), got \(299,\)"),
        (student[:, 0], r"student: expected numbers \(rows, width\)"),
    ):
        with pytest.raises(InputError, match=words):
            judge(teacher, ours)
    with pytest.raises(InputError, match="expected at least 22 rows to compare neighbours on, got 21"):
        judge(teacher[:21], student[:21])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_row_spearman_is_scipys(metric, monkeypatch):
    """Also across chunks: a row's own distance must be left out, not ranked."""
    monkeypatch.setattr(neighbourhood, "CHUNK_MIB", 80 * 7 * 8 / 2**20)
    teacher, student = related(80)
    said = figures_of(teacher, student, metric=metric).items["row_spearman"]
    far, near = cdist(teacher, teacher, metric), cdist(student, student)
    others = ~np.eye(80, dtype=bool)
    expected = [spearmanr(far[i][others[i]], near[i][others[i]]).statistic for i in range(80)]
    np.testing.assert_allclose(said, expected, atol=1e-12)
