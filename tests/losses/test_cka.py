"""Centered kernel alignment against a closed form in numpy, its invariances, and what the bias does to small batches."""

import itertools

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses.cka import cka_loss, linear_cka

both_forms = pytest.mark.parametrize("form", ["gram", "features"])  # which one is taken goes by the shapes
both_kinds = pytest.mark.parametrize("debiased", [True, False])


def points(seed, rows=16, width=5, dtype=torch.float64, mean=0.0):
    return mean + torch.randn(rows, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_definition(x, y, debiased):
    """Song et al. 2012, eq. 5, on plain Gram matrices; else the trace form with the centering matrix."""
    n = len(x)
    k, m = x @ x.conj().T, y @ y.conj().T
    one = np.ones(n)

    def hsic(a, b):
        if not debiased:
            h = np.eye(n) - 1 / n
            return np.trace(a @ h @ b @ h).real
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        total = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        return (np.trace(a @ b) + total - 2 / (n - 2) * one @ a @ b @ one).real / (n * (n - 3))

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@both_forms
@both_kinds
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_both_forms_equal_the_definition(form, debiased, mean):
    """The form in feature space never sees a Gram matrix: a forgotten diagonal or mean would only show here."""
    rows, width = (6, 60) if form == "gram" else (40, 3)
    x, y = points(0, rows, width, mean=mean), points(1, rows, 7, mean=-mean)
    y[:, :3] += x[:, :3]
    expected = by_definition(x.numpy(), y.numpy(), debiased)
    assert linear_cka(x, y, debiased=debiased).item() == pytest.approx(expected, rel=1e-8)
    assert linear_cka(x.float(), y.float(), debiased=debiased).item() == pytest.approx(expected, abs=2e-4)


@both_kinds
def test_equal_up_to_rotation_scale_and_shift_is_one(debiased):
    """And not up to any linear map: that would find every student right."""
    x = points(0)
    rotation = torch.linalg.qr(points(3, 9, 5))[0]
    for same in (x, -3 * x @ rotation.T + 2, x[:, [3, 1, 0, 2, 4]]):
        assert linear_cka(x, same, debiased=debiased).item() == pytest.approx(1, abs=1e-12)
    other = linear_cka(x, x @ torch.diag(torch.tensor([10.0, 1, 1, 1, 1]).double()), debiased=debiased)
    assert other < 0.9
    order = torch.randperm(16)
    y = points(1)
    torch.testing.assert_close(linear_cka(x[order], y[order], debiased=debiased), linear_cka(x, y, debiased=debiased))


def test_unrelated_features_are_alike_only_to_the_biased_form():
    """Wide features in a small batch: the plain form says .93 of independent noise, as a loss it has nothing to teach."""
    plain, fair = [], []
    for seed in range(6):
        x, y = points(2 * seed, 32, 312), points(2 * seed + 1, 32, 768)
        plain.append(linear_cka(x, y, debiased=False).item())
        fair.append(linear_cka(x, y).item())
    assert np.mean(plain) == pytest.approx(0.934, abs=0.01)
    assert abs(np.mean(fair)) < 0.03
    x, y = points(0, 256, 312, mean=2.0), points(1, 256, 768, mean=2.0)
    assert linear_cka(x, y, debiased=False).item() == pytest.approx(0.64, abs=0.02)  # not .9989: it is centered


def over_quadruples(x, y):
    """The unbiased estimate from differences of four different samples: needs no centering, complex or not."""
    n = len(x)
    k, m = x @ x.conj().T, y @ y.conj().T

    def hsic(a, b):
        def kernel(g, i, j, q, r):
            return g[i, j] - g[i, r] - g[q, j] + g[q, r]

        quadruples = list(itertools.permutations(range(n), 4))
        return np.mean([kernel(a, *four) * np.conj(kernel(b, *four)) for four in quadruples]).real / 4

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@both_forms
def test_complex_features_are_alike_up_to_a_unitary_map(form):
    """Radar features: taking the real part would lose half of them, and a phase would look like another feature."""
    width = 40 if form == "gram" else 5
    x = torch.complex(points(0, 7, width), points(1, 7, width))
    unitary = torch.linalg.qr(torch.complex(points(2, width, width), points(3, width, width)))[0]
    y = torch.complex(points(4, 7, width + 3), points(5, 7, width + 3))
    y[:, :width] += 2 * x
    for debiased, definition in ((True, over_quadruples), (False, lambda a, b: by_definition(a, b, False))):
        same = linear_cka(x, 1 - 2j + 3j * x @ unitary, debiased=debiased)
        assert same.item() == pytest.approx(1, abs=1e-12)
        for other in (y, y.real):
            value = linear_cka(x, other, debiased=debiased)
            assert value.item() == pytest.approx(definition(x.numpy(), other.numpy()), rel=1e-8)
    assert linear_cka(x, x.real).item() < 0.95
    student = x.clone().requires_grad_()
    cka_loss(student, y.to(torch.complex64)).backward()
    assert student.grad.imag.abs().sum() > 0


@both_forms
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_a_constant_side_has_a_defined_value(offset, form):
    """0 / 0 would be NaN, and rounding over rounding anything at all."""
    x, constant = points(0, dtype=torch.float32), torch.full((16, 3), 0.1 + offset, requires_grad=True)
    for debiased in (True, False):
        assert linear_cka(x, constant, debiased=debiased).item() == 0
        assert cka_loss(x, constant, debiased=debiased).item() == 0
        value = cka_loss(constant, x, debiased=debiased)
        assert value.item() == 1
        value.backward()
        assert constant.grad.isfinite().all()


def test_what_cannot_be_compared_says_so():
    """A batch of 3 divides by n - 3."""
    with pytest.raises(InputError, match="batch of at least 4 samples, got 3"):
        linear_cka(points(0, 3), points(1, 3))
    with pytest.raises(InputError, match="batch of at least 3 samples, got 2"):  # which are alike to any two others
        linear_cka(points(0, 2), points(1, 2), debiased=False)
