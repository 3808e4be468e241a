"""The embedding student: it begins as PCA, its rows do not see each other, and it is saved as it computes."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from stillhouse.tasks.embed.config import EmbeddingStudentConfig
from stillhouse.tasks.embed.network import EmbeddingStudent, load_embedder, save_embedder
from stillhouse.tasks.embed.numpy_embedder import NumpyEmbedder


def vectors(count=200, width=24, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, width)) * np.linspace(3, 0.3, width) + 1).astype(np.float32)


def student(x=None, trained=True, **settings):
    """With weights that are no longer those of the start."""
    torch.manual_seed(0)
    made = EmbeddingStudent.from_vectors(
        EmbeddingStudentConfig(**{"hidden": (16, 8), **settings}), vectors() if x is None else x
    )
    if trained:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize(("normalize", "width"), [(True, 24), (False, 24), (False, 300)])
def test_it_begins_as_pca(normalize, width):
    """Then training starts at the anchor that it has to beat; another scale a coordinate would not be PCA. Fewer rows too."""
    x = vectors(width=width)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x
    expected = pdist(PCA(5).fit_transform(unit.astype(np.float64)))
    got = pdist(student(x, trained=False, normalize=normalize).encode(x))
    np.testing.assert_allclose(got / got.mean(), expected / expected.mean(), rtol=1e-4)


def test_few_wide_rows_cost_no_square_of_the_width(monkeypatch):
    """1 000 texts as counts of 4 600 words: the eigenvectors of their covariance are minutes."""
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: pytest.fail("a matrix of width x width"))
    assert student(vectors(40, 300), trained=False).skip.shape == (5, 300)


def test_rows_do_not_see_each_other():
    """In chunks, one by one or at once: the same bits."""
    made, x = student(), vectors(333)
    whole = made.encode(x)
    assert np.array_equal(made.encode(x, batch_size=50), whole)
    assert np.array_equal(np.concatenate([made.encode(x[i : i + 1]) for i in range(5)]), whole[:5])
    assert made.encode(x[:0]).shape == (0, 5)


@pytest.mark.parametrize("output", ["euclidean", "sphere"])
@pytest.mark.parametrize("normalize", [True, False])
def test_saved_and_read_it_says_the_same(output, normalize, tmp_path):
    """By torch and by numpy: a factor that is not folded into the weights shows here."""
    made, x = student(levels=(5, 10), output=output, normalize=normalize), vectors(70, seed=3)
    assert float(made.gain) != 1.0
    save_embedder(tmp_path, made, teacher={"name": "t"}, metrics={"spearman": 0.5})
    codes = made.encode(x)
    np.testing.assert_allclose(load_embedder(tmp_path).encode(x), codes, atol=2e-5)
    np.testing.assert_allclose(NumpyEmbedder.load(tmp_path).encode(x), codes, atol=2e-5)
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["format"], card["teacher_dim"], card["levels"]) == ("stillhouse-embedder-1", 24, [5, 10])


def test_every_weight_learns_after_the_first_step():
    """w3 is 0 at the start, so w1 and w2 wait for it, and no longer."""
    made, x = student(trained=False).train(), torch.from_numpy(vectors())
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        made(x).square().sum(1).sqrt().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_more_numbers_than_the_teacher_has():
    """155 numbers of a 24-dimensional teacher: no axis may start dead."""
    made = student(levels=(5, 25, 125), trained=False)
    assert made.skip.shape == (155, 24)
    assert made.skip.norm(dim=1).min() > 0
    assert made.config.widths == (5, 30, 155)
    np.testing.assert_allclose(made.encode(vectors())[:, :5], student(trained=False).encode(vectors()), atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_a_vector_says_nothing(scale, tmp_path):
    """Under `normalize` only directions count: squares that vanish or overflow in float32 made all codes one."""
    made, x = student(), vectors()
    scaled = (x.astype(np.float64) * scale).astype(np.float32)
    np.testing.assert_allclose(made.encode(scaled), made.encode(x), atol=1e-5)
    save_embedder(tmp_path, made)
    np.testing.assert_allclose(NumpyEmbedder.load(tmp_path).encode(scaled), made.encode(x), atol=1e-5)
