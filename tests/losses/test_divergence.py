"""Divergences against closed forms and scipy; expected values never come from the functions themselves."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cityblock, jensenshannon
from scipy.special import rel_entr, softmax

from stillhouse.core.checks import InputError
from stillhouse.losses.correlation import dist_inter
from stillhouse.losses.divergence import (
    decoupled_kl,
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
    total_variation,
)
from stillhouse.losses.regression import mse_logits
from stillhouse.losses.softened import standardize_logits

DIVERGENCES = [
    forward_kl,
    reverse_kl,
    symmetric_kl,
    generalized_js,
    skew_forward_kl,
    skew_reverse_kl,
    total_variation,
]


def logits(seed, rows=5, classes=7, scale=3.0):
    torch.manual_seed(seed)
    return scale * torch.randn(rows, classes, dtype=torch.float64)


def cityblocks(p, q):
    return np.array([cityblock(a, b) for a, b in zip(p, q)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_values_equal_scipys(temperature):
    """`F.kl_div(reduction="mean")` divides by the class count too; a wrong direction or T would show here as well."""
    s, t = logits(0), logits(1)
    p, q = softmax(t.numpy() / temperature, axis=1), softmax(s.numpy() / temperature, axis=1)
    expected = {
        forward_kl: rel_entr(p, q).sum(1),
        reverse_kl: rel_entr(q, p).sum(1),
        symmetric_kl: (rel_entr(p, q) + rel_entr(q, p)).sum(1) / 2,
        generalized_js: jensenshannon(p, q, axis=1) ** 2,
        skew_forward_kl: rel_entr(p, 0.1 * p + 0.9 * q).sum(1),
        skew_reverse_kl: rel_entr(q, 0.9 * p + 0.1 * q).sum(1),
        total_variation: cityblocks(p, q) / 2 / temperature**2,
    }
    assert set(expected) == set(DIVERGENCES)
    for loss, value in expected.items():
        torch.testing.assert_close(loss(s, t, temperature=temperature), torch.tensor(value) * temperature**2)


def test_directions_are_each_others_mirror():
    """Forward means KL(teacher || student)."""
    s, t = logits(0), logits(1)
    for one, other in ((forward_kl, reverse_kl), (skew_forward_kl, skew_reverse_kl)):
        torch.testing.assert_close(one(s, t), other(t, s))
        assert not torch.allclose(one(s, t), one(t, s))
    for loss in (symmetric_kl, generalized_js, total_variation):
        torch.testing.assert_close(loss(s, t), loss(t, s))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_the_gradient_is_t_times_q_minus_p(temperature):
    """T squared exactly once: without it the gradient shrinks by T^2, twice and it grows by it."""
    s, t = logits(0).requires_grad_(), logits(1)
    forward_kl(s, t, temperature=temperature).sum().backward()
    expected = temperature * (torch.softmax(s / temperature, 1) - torch.softmax(t / temperature, 1))
    torch.testing.assert_close(s.grad, expected.detach(), atol=1e-10, rtol=0)


def test_hot_limit_is_half_the_centred_squared_error():
    """T^2 KL tends to |centred difference|^2 / (2K): the documents state it without centring."""
    s, t = logits(0), logits(1)
    hot = forward_kl(s, t, temperature=1e4)
    torch.testing.assert_close(hot, mse_logits(s, t, centered=True).double() / 2, rtol=1e-3, atol=1e-5)


def test_js_limits_and_bounds():
    """Normalized by beta it tends to forward KL, by 1 - beta to reverse KL; at 1/2 it is symmetric and at most ln 2."""
    s, t = logits(0, scale=1.0), logits(1, scale=1.0)
    torch.testing.assert_close(generalized_js(s, t, beta=1e-6) / 1e-6, forward_kl(s, t), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(generalized_js(s, t, beta=1 - 1e-6) / 1e-6, reverse_kl(s, t), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(generalized_js(s, t), generalized_js(t, s))
    apart = torch.tensor([[1e3, 0.0]]), torch.tensor([[0.0, 1e3]])
    assert generalized_js(*apart).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_a_temperature_for_each_sample(loss):
    """(B, 1) times (B,) silently makes (B, B): a number or (B,) and nothing else."""
    s, t, temperatures = logits(0), logits(1), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    each = torch.cat([loss(s[i : i + 1], t[i : i + 1], temperature=float(temperatures[i])) for i in range(5)])
    torch.testing.assert_close(loss(s, t, temperature=temperatures), each)
    with pytest.raises(InputError, match=r"expected shape \(5,\), got \(5, 1\)"):
        loss(s, t, temperature=temperatures.unsqueeze(1))


@pytest.mark.parametrize("loss", DIVERGENCES)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_temperature_is_refused(loss, temperature):
    """A negative one turns the objective round; zero gives NaN."""
    with pytest.raises(InputError, match="temperature"):
        loss(logits(0), logits(1), temperature=temperature)


def test_reverse_kl_of_a_ruled_out_class_is_floored():
    """Infinity would end the run; q (ln q + 50) by hand, and nothing changes above the floor."""
    even, sure = torch.zeros(1, 2), torch.tensor([[0.0, -math.inf]])
    assert reverse_kl(even, sure).item() == pytest.approx(0.5 * math.log(0.5) + 0.5 * (math.log(0.5) + 50))
    assert reverse_kl(even, torch.tensor([[0.0, -49.0]])).item() == pytest.approx(math.log(0.5) + 24.5)


def test_symmetric_kl_goes_from_forward_to_reverse():
    """A mix the wrong way round would be the other divergence."""
    s, t = logits(0), logits(1)
    torch.testing.assert_close(symmetric_kl(s, t, mix=0.0), forward_kl(s, t))
    torch.testing.assert_close(symmetric_kl(s, t, mix=1.0), reverse_kl(s, t))
    torch.testing.assert_close(symmetric_kl(s, t, mix=0.25), 0.75 * forward_kl(s, t) + 0.25 * reverse_kl(s, t))
    infinite = torch.tensor([[0.0, -math.inf]]), torch.zeros(1, 2)
    assert symmetric_kl(*infinite, mix=1.0).item() == pytest.approx(math.log(2))  # not 0 times infinity


@pytest.mark.parametrize(("loss", "plain"), [(skew_forward_kl, forward_kl), (skew_reverse_kl, reverse_kl)])
def test_skew_goes_to_the_plain_kl_and_is_bounded(loss, plain):
    """Bound -ln skew where nothing overlaps; no jump at 0."""
    s, t = logits(0, scale=1.0), logits(1, scale=1.0)
    torch.testing.assert_close(loss(s, t, skew=0.0), plain(s, t))
    torch.testing.assert_close(loss(s, t, skew=1e-7), plain(s, t), rtol=1e-5, atol=1e-5)
    apart = torch.tensor([[1e3, 0.0]]), torch.tensor([[0.0, 1e3]])
    for skew in (0.1, 0.5):
        assert loss(*apart, skew=skew).item() == pytest.approx(-math.log(skew), rel=1e-5)


def test_normalized_js_keeps_its_size_where_the_plain_one_fades():
    """At beta 0.001 the plain one is a thousandth of the forward KL: nothing is learned and nothing says so."""
    s, t = logits(0, scale=1.0), logits(1, scale=1.0)
    for beta, limit in ((1e-6, forward_kl), (1 - 1e-6, reverse_kl)):
        torch.testing.assert_close(generalized_js(s, t, beta=beta, normalized=True), limit(s, t), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(generalized_js(s, t, normalized=True), 4 * generalized_js(s, t))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_standardized_logits_have_mean_0_and_deviation_1_at_any_scale(scale):
    """The magnitude must be gone: a loud teacher and a soft one give the same target."""
    z = logits(0)
    out = standardize_logits(scale * z + 7.0)
    torch.testing.assert_close(out.mean(1), torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(out.std(1, correction=0), torch.ones(5, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(out, standardize_logits(z), atol=1e-8, rtol=1e-8)


def test_rows_that_cannot_be_standardized_have_a_defined_result():
    """Equal numbers, of which float32 does not take the exact mean; ruled-out classes; NaN."""
    z = torch.full((1, 7), 0.1, requires_grad=True)
    out = standardize_logits(z)
    out.sum().backward()
    assert out.abs().max() < 1e-6
    assert torch.isfinite(z.grad).all()
    masked = torch.tensor([[1.0, 3.0, -math.inf]])
    assert standardize_logits(masked).tolist() == [[-1.0, 1.0, -math.inf]]
    assert standardize_logits(torch.tensor([[1.0, math.nan, 2.0]])).isnan().all()


def test_reverse_kl_of_rare_but_possible_classes_is_exact():
    """A floor at -50 nats bent the gradient by 1.4 % where scores of 32 000 classes have a deviation of 8."""
    s, t = logits(0, 2, 32_000, 8.0).requires_grad_(), logits(1, 2, 32_000, 8.0)
    log_q, log_p = torch.log_softmax(s, 1), torch.log_softmax(t, 1)
    assert log_p.min() < -60
    value = (log_q.exp() * (log_q - log_p)).sum(1)
    expected = torch.autograd.grad(value.sum(), s)[0]
    torch.testing.assert_close(reverse_kl(s, t), value)
    torch.testing.assert_close(torch.autograd.grad(reverse_kl(s, t).sum(), s)[0], expected, rtol=1e-9, atol=1e-14)
    low = s.detach().float().requires_grad_()
    found = torch.autograd.grad(reverse_kl(low, t.float()).sum(), low)[0].double()
    assert (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("loss", [*DIVERGENCES, dist_inter, lambda *x, **k: decoupled_kl(*x, torch.arange(5), **k)])
@pytest.mark.parametrize("each", [False, True])
def test_a_learned_temperature_has_a_gradient_where_a_class_is_ruled_out(loss, each):
    """d(z / T)/dT is infinite at z = -inf: one masked class made the gradient NaN, and the temperature with it."""
    s, t = logits(0), logits(1)
    hot = torch.full((5,) if each else (), 2.0, dtype=torch.float64, requires_grad=True)
    s[:, -1] = t[:, -1] = -math.inf
    found = torch.autograd.grad(loss(s, t, temperature=hot).sum(), hot)[0]
    if loss is dist_inter:  # probabilities of 0 count in a correlation
        s[:, -1] = t[:, -1] = -1e6
        expected = torch.autograd.grad(loss(s, t, temperature=hot).sum(), hot)[0]
    else:
        expected = torch.autograd.grad(loss(s[:, :-1], t[:, :-1], temperature=hot).sum(), hot)[0]
    torch.testing.assert_close(found, expected)
    assert (found != 0).all()
