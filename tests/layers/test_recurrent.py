"""Recurrent mixers: two forms agree, nothing leaks from the future, nothing vanishes that should stay."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.layers.recurrent import (
    LOWEST_LOG_DECAY,
    MatrixMixer,
    ScalarMixer,
    delta_chunked,
    delta_recurrent,
    published_scalar_scan,
    scalar_chunked,
    scalar_recurrent,
)
from stillhouse.layers.recurrent.delta import LARGEST_CHUNK
from stillhouse.layers.spikes import Quantization

LENGTHS = [1, 7, 16, 17, 64, 65, 513]


def inputs(length, *, width=8, heads=2, batch=2, dtype=torch.float32, decay=None, seed=0):
    torch.manual_seed(seed)
    shape = (batch, heads, length, width)
    r, k, v = (torch.randn(shape, dtype=dtype) for _ in range(3))
    log_w = LOWEST_LOG_DECAY * (
        torch.rand(shape, dtype=dtype) if decay is None else torch.full(shape, decay, dtype=dtype)
    )
    c = torch.nn.functional.normalize(torch.randn(shape, dtype=dtype), dim=-1)
    b = -torch.rand(shape, dtype=dtype) * c
    memory = torch.randn(batch, heads, width, width, dtype=dtype)
    return r, k, v, log_w, b, c, memory


def mixer(kind, width=16, seed=0):
    torch.manual_seed(seed)
    if kind == "scalar":
        return ScalarMixer(width, Quantization(), chunk=16)
    made = MatrixMixer(width, 2, Quantization(), chunk=16)
    for low_rank in [made.decay, made.gate, made.rate]:
        torch.nn.init.normal_(low_rank.up, std=0.5)
    torch.nn.init.normal_(made.bonus)
    return made


@pytest.mark.parametrize("chunk", [16, 64])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_equal_the_definition(length, chunk):
    """A wrong mask or a forgotten border shows at some lengths only; generation would then differ from training."""
    r, k, v, log_w, b, c, memory = inputs(length)
    got = delta_chunked(r, k, v, log_w, b, c, memory, chunk=chunk)
    for one, other in zip(got, delta_recurrent(r, k, v, log_w, b, c, memory)):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    x, log_d, state = v[:, 0], log_w[0, 0, 0] - 0.1, memory[:, 0, 0]
    for one, other in zip(scalar_chunked(x, log_d, state, chunk=chunk), scalar_recurrent(x, log_d, state)):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [32, LARGEST_CHUNK])
def test_the_fastest_decay_stays_finite_and_exact(chunk):
    """The public form divides by d^t and is 0 after 25 tokens; ours at its lowest decay and largest chunk must be right."""
    r, k, v, log_w, b, c, memory = inputs(300, decay=1.0)
    leaves = [x.requires_grad_() for x in (r, k, v, log_w, b, c)]
    y, last = delta_chunked(*leaves, memory, chunk=chunk)
    expected, _ = delta_recurrent(r, k, v, log_w, b, c, memory)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    (y.square().sum() + last.sum()).backward()
    assert all(x.grad.isfinite().all() for x in leaves)


def test_gradients_of_both_forms_agree():
    """A masked product may be right forward and leak into the gradient."""
    sums = []
    for function in (delta_recurrent, delta_chunked):
        leaves = [x.double().requires_grad_() for x in inputs(37)]
        y, memory = function(*leaves, **({"chunk": 8} if function is delta_chunked else {}))
        (y.sin().sum() + memory.square().sum()).backward()
        sums.append([x.grad for x in leaves])
    for one, other in zip(*sums):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def test_a_full_removal_replaces_and_an_absent_one_adds():
    """A delta rule without its removal is plain linear attention under another name."""
    key = torch.nn.functional.normalize(torch.randn(1, 1, 1, 4), dim=-1).repeat(1, 1, 2, 1)
    v, still = torch.tensor([[1.0, 2.0], [10.0, 20.0]]).reshape(1, 1, 2, 2), torch.zeros(1, 1, 2, 4)
    replaced, _ = delta_chunked(key, key, v, still, -key, key)
    added, _ = delta_chunked(key, key, v, still, 0 * key, key)
    torch.testing.assert_close(replaced[0, 0, 1], torch.tensor([10.0, 20.0]))
    torch.testing.assert_close(added[0, 0, 1], torch.tensor([11.0, 22.0]))


@pytest.mark.parametrize("kind", ["delta", "scalar"])
def test_no_token_sees_a_later_one(kind):
    """A statistic over the sequence, or a mask off by one, lets the future in: training looks splendid, generation fails."""
    made, x = mixer(kind), torch.randn(2, 50, 16)
    changed = x.clone()
    changed[:, 30:] += torch.randn(2, 20, 16)
    before, after = made(x)[0], made(changed)[0]
    torch.testing.assert_close(before[:, :30], after[:, :30], atol=1e-6, rtol=1e-6)
    assert (before[:, 30] - after[:, 30]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["delta", "scalar"])
def test_pieces_equal_the_whole(kind):
    """A state that lacks the token shift, or that the filling of a chunk has changed, shows at the next piece."""
    made, x = mixer(kind), torch.randn(2, 75, 16)
    whole, end = made(x)
    state, pieces = None, []
    for piece in x.split([1, 16, 17, 1, 40], 1):
        y, state = made(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4, rtol=1e-4)
    for one, other in zip(state, end):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradients_reach_512_tokens_back():
    """Where the decay is near 1 the first token must still matter; in the public design its share is 0.378^511 = 0."""
    r, k, v, log_w, b, c, _ = inputs(512)
    value = v.clone().requires_grad_()
    delta_chunked(r, k, value, log_w * 1e-4, 0.01 * b, c)[0][:, :, -1].sum().backward()
    assert value.grad[:, :, 0].norm() > 0.05 * value.grad[:, :, -1].norm()
    x = torch.randn(1, 512, 4, requires_grad=True)
    scalar_chunked(x, torch.full((4,), 0.3775).log())[0][:, -1].sum().backward()
    assert x.grad[:, 0].abs().max() == 0


def test_the_published_form_vanishes_where_the_recurrence_does_not():
    """The reason for this design: with the published decay, states are 0 after 40 tokens whatever comes in."""
    x, log_d = torch.ones(1, 60, 3), torch.full((3,), 0.3775).log()
    exact, published = scalar_recurrent(x, log_d)[0], published_scalar_scan(x, log_d)
    torch.testing.assert_close(exact[0, -1], torch.full((3,), 1 / (1 - 0.3775)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(published[:, :10], exact[:, :10], atol=1e-3, rtol=1e-3)
    assert published[:, 40:].max() < 1e-6


@pytest.mark.parametrize("kind", ["delta", "scalar"])
def test_every_parameter_of_a_mixer_learns(kind):
    """A gate whose result is dropped, or a parameter that is made and not used, stays at its start unseen."""
    made = mixer(kind)
    made(torch.randn(2, 20, 16))[0].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_wrong_input_is_named():
    """A state of another batch would broadcast; an empty text would give an empty answer."""
    made = mixer("delta")
    with pytest.raises(InputError, match=r"expected \(B, L, 16\)"):
        made(torch.randn(2, 3, 8))
    with pytest.raises(InputError, match="at least one token"):
        made(torch.randn(2, 0, 16))
    with pytest.raises(InputError, match="state, last token: expected shape"):
        made(torch.randn(2, 3, 16), made.initial_state(1))
    with pytest.raises(InputError, match="chunk: expected 1 to 128"):
        delta_chunked(*inputs(4), chunk=500)
    with pytest.raises(InputError, match="divisor of the width 16"):
        MatrixMixer(16, 3, Quantization())
