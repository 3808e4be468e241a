"""Divergences against closed forms and scipy; expected values never come from the functions themselves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

from stillhouse.checks import InputError
from stillhouse.losses import (
    cosine_distance,
    forward_kl,
    generalized_js,
    label_cross_entropy,
    mse,
    mse_logits,
    reverse_kl,
    smooth_l1,
)

DIVERGENCES = [forward_kl, reverse_kl, generalized_js]


def logits(seed, rows=5, classes=7, scale=3.0):
    torch.manual_seed(seed)
    return scale * torch.randn(rows, classes, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_values_equal_scipys(temperature):
    """`F.kl_div(reduction="mean")` divides by the class count too; a wrong direction or T would show here as well."""
    s, t = logits(0), logits(1)
    p, q = softmax(t.numpy() / temperature, axis=1), softmax(s.numpy() / temperature, axis=1)
    expected = {
        forward_kl: rel_entr(p, q).sum(1),
        reverse_kl: rel_entr(q, p).sum(1),
        generalized_js: jensenshannon(p, q, axis=1) ** 2,
    }
    for loss, value in expected.items():
        torch.testing.assert_close(loss(s, t, temperature=temperature), torch.tensor(value) * temperature**2)


@pytest.mark.parametrize("loss", [*DIVERGENCES, mse_logits])
def test_nothing_is_lost_between_equals(loss):
    """A "KL" that is a cross-entropy has a floor that depends on the teacher (2.03 in torchtune)."""
    x = logits(0)
    torch.testing.assert_close(loss(x, x), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)


def test_directions_are_each_others_mirror():
    """Forward means KL(teacher || student)."""
    s, t = logits(0), logits(1)
    torch.testing.assert_close(forward_kl(s, t), reverse_kl(t, s))
    assert not torch.allclose(forward_kl(s, t), forward_kl(t, s))


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_a_constant_added_to_a_row_changes_nothing(loss):
    """A softmax sees differences only."""
    s, t = logits(0), logits(1)
    torch.testing.assert_close(loss(s + 5.0, t - 3.0), loss(s, t))


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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 10), st.floats(0.05, 0.95))
def test_divergences_are_never_negative(seed, temperature, beta):
    """Whatever the logits."""
    s, t = logits(seed), logits(seed + 1)
    assert (forward_kl(s, t, temperature=temperature) > -1e-9).all()
    assert (reverse_kl(s, t, temperature=temperature) > -1e-9).all()
    bound = temperature**2 * (-beta * math.log(beta) - (1 - beta) * math.log(1 - beta))
    js = generalized_js(s, t, beta=beta, temperature=temperature)
    assert ((js > -1e-9) & (js < bound + 1e-9)).all()


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


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1])
def test_js_without_a_mixture_is_refused(beta):
    """At the ends it is zero and teaches nothing."""
    with pytest.raises(InputError, match="beta"):
        generalized_js(logits(0), logits(1), beta=beta)


@pytest.mark.parametrize("loss", [*DIVERGENCES, mse_logits])
def test_shapes_are_printed(loss):
    """Broadcasting (5, 7) against (1, 7) would train towards one row."""
    with pytest.raises(InputError, match=r"expected shape \(5, 7\), got \(1, 7\)"):
        loss(logits(0), logits(1)[:1])


@pytest.mark.parametrize("loss", [*DIVERGENCES, mse_logits])
def test_the_teacher_gets_no_gradient(loss):
    """Else the teacher would be pulled towards the student."""
    s, t = logits(0).requires_grad_(), logits(1).requires_grad_()
    loss(s, t).sum().backward()
    assert t.grad is None
    assert s.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [forward_kl, generalized_js])
def test_a_class_the_teacher_rules_out(loss):
    """0 ln 0 is 0, not NaN, in value and gradient."""
    t = torch.tensor([[0.0, 1.0, -math.inf]])
    s = torch.tensor([[0.5, 0.2, 0.1]], requires_grad=True)
    value = loss(s, t)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_bf16_inputs_are_summed_in_float32(loss):
    """Log-softmax in bf16 has a noise floor of a hundredth of a nat."""
    s, t = logits(0).bfloat16(), logits(1).bfloat16()
    torch.testing.assert_close(loss(s, t).double(), loss(s.double(), t.double()), atol=1e-3, rtol=1e-3)


def test_label_smoothing_mixes_in_the_uniform_distribution():
    """(1 - e) CE + e mean over classes of -log q."""
    x, y = logits(0), torch.tensor([0, 1, 2, 3, 4])
    log_q = torch.log_softmax(x, 1)
    expected = -(0.9 * log_q[torch.arange(5), y] + 0.1 * log_q.mean(1))
    torch.testing.assert_close(label_cross_entropy(x, y, smoothing=0.1).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", [mse, smooth_l1, cosine_distance])
def test_feature_distances_give_one_number_a_sample(distance):
    """Zero for equals, and a batch is the list of its samples."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 3, 6), torch.randn(4, 3, 6)
    torch.testing.assert_close(distance(a, a), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(distance(a, b), torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(4)]))
    with pytest.raises(InputError, match="teacher features"):
        distance(a, b[:, :2])


def test_feature_distances_equal_torchs():
    """An independent implementation of the same formulas."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), 3 * torch.randn(4, 6)
    torch.testing.assert_close(mse(a, b).mean(), torch.nn.functional.mse_loss(a, b))
    torch.testing.assert_close(smooth_l1(a, b).mean(), torch.nn.functional.smooth_l1_loss(a, b))
