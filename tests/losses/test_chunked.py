"""The chunked form against the dense one: value, gradients, masks, and that nothing of size tokens x classes exists."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stillhouse.core.checks import InputError
from stillhouse.losses import (
    Projection,
    forward_kl,
    fused_linear_divergence,
    generalized_js,
    reverse_kl,
)

N, V, DS, DT = 11, 23, 5, 4
FORMS = [("forward-kl", {}), ("reverse-kl", {}), ("js", {"beta": 0.5}), ("js", {"beta": 0.1})]
DENSE = {"forward-kl": forward_kl, "reverse-kl": reverse_kl, "js": generalized_js}


def parts(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(dtype)

    student = [draw(N, DS), draw(V, DS)]
    teacher = [draw(N, DT), draw(V, DT)]
    return [x.requires_grad_() for x in student], teacher


def dense(form, settings, student, teacher, temperature, valid=None):
    loss = DENSE[form](
        *(torch.nn.functional.linear(*side) for side in (student, teacher)), temperature=temperature, **settings
    )
    return loss.mean() if valid is None else loss[valid].mean()


def fused(form, settings, student, teacher, **more):
    return fused_linear_divergence(Projection(*student), Projection(*teacher), divergence=form, **settings, **more)


def gradients(value, student):
    return torch.autograd.grad(value, student)


@pytest.mark.parametrize(("form", "settings"), FORMS)
@pytest.mark.parametrize("chunk", [1, 4, 11, 100, None])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_equals_the_dense_form_in_value_and_gradient(form, settings, chunk, temperature):
    """To 1e-10, also where the chunk does not divide the tokens; the factor T^2 and the mean included."""
    student, teacher = parts()
    value = fused(form, settings, student, teacher, temperature=temperature, chunk=chunk)
    expected = dense(form, settings, student, teacher, temperature)
    torch.testing.assert_close(value, expected, atol=1e-10, rtol=0)
    for ours, theirs in zip(gradients(3 * value, student), gradients(3 * expected, student), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_tokens_that_do_not_count_reach_neither_value_nor_gradient(form, settings):
    """A known library averages over valid tokens, but sums the soft loss over the ignored ones too."""
    student, teacher = parts()
    valid = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1], dtype=torch.bool)
    value = fused(form, settings, student, teacher, valid=valid, chunk=3, temperature=2.0)
    expected = dense(form, settings, student, teacher, 2.0, valid)
    torch.testing.assert_close(value, expected, atol=1e-10, rtol=0)
    ours = gradients(value, student)
    for mine, theirs in zip(ours, gradients(expected, student), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)
    assert ours[0][~valid].abs().max() == 0
    with torch.no_grad():
        student[0][~valid] = math.nan  # padding may hold anything
    assert torch.equal(fused(form, settings, student, teacher, valid=valid, chunk=3, temperature=2.0), value)


def test_the_teacher_may_be_a_function_of_token_numbers():
    """A cache gives its logits chunk by chunk; they must not be overwritten."""
    student, teacher = parts()
    logits = torch.nn.functional.linear(*teacher)
    kept, asked = logits.clone(), []

    def told(rows):
        asked.extend(rows.tolist())
        return logits[rows[0] : rows[-1] + 1]  # a view into the cache

    value = fused_linear_divergence(Projection(*student), told, chunk=4)
    torch.testing.assert_close(value, fused("forward-kl", {}, student, teacher))
    assert asked == list(range(N))
    assert torch.equal(logits, kept)
    with pytest.raises(InputError, match=r"of a chunk: expected shape \(4, 23\), got \(4, 22\)"):
        fused_linear_divergence(Projection(*student), lambda rows: logits[rows, 1:], chunk=4)


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation gives out."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_nothing_of_tokens_times_classes_is_ever_made(form, settings):
    """Which is all that it is for: forward and backward hold a chunk of logits, and the gradient of the weight."""
    torch.manual_seed(0)
    h, w = torch.randn(64, 3, requires_grad=True), torch.randn(50, 3, requires_grad=True)
    teacher = torch.randn(64, 2), torch.randn(50, 2)
    with Largest() as seen:
        fused_linear_divergence(Projection(h, w), Projection(*teacher), divergence=form, chunk=4, **settings).backward()
    assert seen.elements == 4 * 50
    with Largest() as seen:
        DENSE[form](h @ w.t(), teacher[0] @ teacher[1].t(), **settings).mean().backward()
    assert seen.elements == 64 * 50


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_half_precision_is_summed_in_float32(dtype, form, settings):
    """Within the input's own precision of the exact values; the value itself is float32."""
    student, teacher = parts(dtype=dtype)
    exact = [x.detach().double().requires_grad_() for x in student], [x.double() for x in teacher]
    value, expected = fused(form, settings, student, teacher, chunk=4), dense(form, settings, *exact, 1.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-2, atol=1e-3)
    for ours, theirs in zip(gradients(value, student), gradients(expected, exact[0]), strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("lowest", [-300.0, -1e9, -math.inf])
@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_rare_and_ruled_out_classes_are_those_of_the_dense_form(form, settings, lowest):
    """A masked class made KL and JS NaN here alone; a rare one is no masked one in either form."""
    teacher = torch.tensor([[0.0, -60.0, lowest], [1.0, 0.0, -2.0]])
    h, w = torch.randn(2, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    value = fused_linear_divergence(
        Projection(h, w), lambda rows: teacher[rows], divergence=form, temperature=2.0, **settings
    )
    expected = DENSE[form](h @ w.t(), teacher, temperature=2.0, **settings).mean()
    assert torch.isfinite(expected)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(gradients(value, [h, w]), gradients(expected, [h, w]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_second_derivatives_are_refused():
    """Dropped without a word, a penalty on gradients would train nothing."""
    student, teacher = parts()
    total = fused("js", {}, student, teacher) + sum(x.square().sum() for x in student)
    with pytest.raises(InputError, match="no second derivatives"):
        torch.autograd.grad(total, student, create_graph=True)
