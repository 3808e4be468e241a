"""Relational losses: what must not change them, where they are 0, and closed forms by scipy and eigenvalues."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr

from stillhouse.core.checks import InputError
from stillhouse.losses.relations import (
    pairwise_distances,
    pearson_of_distances,
    pkt,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

LOSSES = {
    "rkd-distance": rkd_distance,
    "rkd-angle": rkd_angle,
    "sp": similarity_preserving,
    "pkt": pkt,
    "pearson": pearson_of_distances,
}
every = pytest.mark.parametrize("name", LOSSES)


def points(seed, rows=12, width=5, dtype=torch.float64):
    return torch.randn(rows, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def orthonormal(rows, columns, seed=7):
    return torch.linalg.qr(points(seed, rows, columns))[0]


@every
def test_only_relations_count(name):
    """A loss tied to coordinates compares arbitrary axes: rotation or exchange of axes on either side would change it."""
    loss, s, t = LOSSES[name], points(0), points(1, width=9)
    value = loss(s, t)
    assert value.ndim == 0
    assert value > 1e-4
    torch.testing.assert_close(loss(s @ orthonormal(5, 5), t), value)
    torch.testing.assert_close(loss(s, t @ orthonormal(9, 9)), value)
    torch.testing.assert_close(loss(s, t[:, torch.randperm(9)]), value)
    order = torch.randperm(12)
    torch.testing.assert_close(loss(s[order], t[order]), value)
    assert not torch.isclose(loss(s[order], t), value)


@every
@pytest.mark.parametrize("scale", [1e-12, 30.0, 1e12])
def test_scale_does_not_count(name, scale):
    """Float32 squares of small or large features underflow or overflow, and the loss is then made of rounding."""
    s, t = points(0, dtype=torch.float32), points(1, width=9, dtype=torch.float32)
    value = LOSSES[name](s, t)
    torch.testing.assert_close(LOSSES[name](s * scale, t), value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(LOSSES[name](s, t * scale), value, rtol=1e-4, atol=1e-6)


@every
def test_no_gradient_reaches_the_teacher_and_a_finite_one_the_student(name):
    """Equal rows and rows of zeros are where roots and divisions have no slope: one NaN ends the run."""
    s, t = points(0, dtype=torch.float32), points(1, width=9, dtype=torch.float32).requires_grad_()
    s[1] = s[0]
    s[2] = 0
    with torch.no_grad():
        t[3] = t[4]
        t[5] = 0
    s.requires_grad_()
    LOSSES[name](s, t).backward()
    assert t.grad is None
    assert s.grad.isfinite().all()
    assert 0 < s.grad.abs().max() < 1e3


@every
def test_a_collapsed_student_is_far_from_right(name):
    """All rows equal: 0 / 0 must be neither NaN nor a small loss."""
    t = points(1, width=9)
    s = torch.ones(12, 5, dtype=torch.float64, requires_grad=True)
    value = LOSSES[name](s, t)
    value.backward()
    assert s.grad.isfinite().all()
    assert value > 1e-3
    assert torch.isfinite(LOSSES[name](t, s.detach()))


@every
def test_too_small_a_batch_says_so(name):
    """One sample has no relations: a silent 0 or NaN would pass as learnt."""
    with pytest.raises(InputError, match="batch of at least 3 samples, got 2"):
        LOSSES[name](points(0, rows=2), points(1, rows=2))
    enough = points(0, rows=3).requires_grad_()
    LOSSES[name](enough, points(1, rows=3)).backward()
    assert enough.grad.abs().max() > 1e-4  # two distances over their mean, or two centered rows, have none


@every
def test_complex_rows_are_pairs_of_real_numbers(name):
    """A cast to float would drop the imaginary half with no more than a warning."""
    s = torch.complex(points(0), points(2))
    t = points(1)
    torch.testing.assert_close(LOSSES[name](s, t), LOSSES[name](torch.cat([points(0), points(2)], 1), t))


def test_distances_equal_scipys():
    """The expansion by products must keep its digits, far from the origin too."""
    x = points(0, rows=20, width=7)
    row, column = torch.triu_indices(20, 20, offset=1)
    torch.testing.assert_close(pairwise_distances(x)[row, column], torch.tensor(pdist(x.numpy())))
    torch.testing.assert_close(pairwise_distances(x.float() + 1e3), pairwise_distances(x).float(), rtol=1e-3, atol=1e-3)


def test_values_equal_those_from_scipys_distances():
    """Which mean divides a distance, and over which pairs: the diagonal must not count."""
    s, t = points(0), points(1, width=9)
    ours, theirs = pdist(s.numpy()), pdist(t.numpy())
    gap = np.abs(ours / ours.mean() - theirs / theirs.mean())
    huber = np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()
    assert rkd_distance(s, t).item() == pytest.approx(huber)
    assert pearson_of_distances(s, t).item() == pytest.approx(1 - pearsonr(ours, theirs).statistic)


def test_angles_equal_those_by_hand():
    """Vertex and legs of a triple are easily exchanged, and i = k would add cosines of 1."""
    s, t = points(0, rows=6).numpy(), points(1, rows=6).numpy()

    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    triples = [(i, j, k) for i in range(6) for j in range(6) for k in range(6) if len({i, j, k}) == 3]
    gaps = np.array([abs(cosine(s, *ijk) - cosine(t, *ijk)) for ijk in triples])
    expected = np.where(gaps < 1, gaps**2 / 2, gaps - 0.5).mean()
    assert rkd_angle(torch.tensor(s), torch.tensor(t)).item() == pytest.approx(expected)


def test_drawn_triples_estimate_all_of_them():
    """A draw with i = k, or one that favours some triples, is biased; another generator must give another draw."""
    s, t = points(0, rows=30), points(1, rows=30)
    whole = rkd_angle(s, t)
    drawn = torch.stack([rkd_angle(s, t, triples=2000, generator=torch.Generator().manual_seed(n)) for n in range(50)])
    assert drawn.std() > 0
    assert (drawn.mean() - whole).abs() < 4 * drawn.std() / 50**0.5
    again = rkd_angle(s, t, triples=2000, generator=torch.Generator().manual_seed(0))
    assert again == drawn[0]
    torch.testing.assert_close(rkd_angle(s, t, triples=30 * 29 * 28), whole, rtol=0, atol=0)


def test_pkt_equals_its_definition():
    """The sample itself has similarity 1 and would take most of the probability on both sides."""
    s, t = points(0, rows=6).numpy(), points(1, rows=6).numpy()

    def distribution(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        kernel = (x @ x.T + 1) / 2
        np.fill_diagonal(kernel, 0)
        return kernel / kernel.sum(1, keepdims=True)

    p, q = distribution(t), distribution(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nansum(p * np.log(p / q), axis=1).mean()
    assert pkt(torch.tensor(s), torch.tensor(t)).item() == pytest.approx(expected, rel=1e-3)
