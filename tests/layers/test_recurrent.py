"""Recurrent mixers: two forms agree, nothing leaks from the future, nothing vanishes that should stay."""

import pytest
import torch

from stillhouse.layers.recurrent.delta import LOWEST_LOG_DECAY, delta_chunked, delta_recurrent
from stillhouse.layers.recurrent.mixers import MatrixMixer
from stillhouse.layers.spikes.linear import Quantization

LENGTHS = [1, 7, 16, 17, 64, 65, 130]


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


def mixer():
    torch.manual_seed(0)
    made = MatrixMixer(16, 2, Quantization(), chunk=16)
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


@pytest.mark.parametrize("chunk", [32, 128])
def test_the_fastest_decay_stays_finite_and_exact(chunk):
    """The public form divides by d^t and is 0 after 25 tokens; ours at its lowest decay and largest chunk must be right."""
    r, k, v, log_w, b, c, memory = inputs(300, decay=1.0)
    leaves = [x.requires_grad_() for x in (r, k, v, log_w, b, c)]
    y, last = delta_chunked(*leaves, memory, chunk=chunk)
    expected, _ = delta_recurrent(r, k, v, log_w, b, c, memory)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    (y.square().sum() + last.sum()).backward()
    assert all(x.grad.isfinite().all() for x in leaves)


def test_mixed_precision_trains():
    """Triangular systems have no half precision, and a memory must not: bf16-mixed broke off in the first step."""
    x = torch.randn(2, 20, 16)
    exact, _ = mixer()(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, rounded = mixer()(x)
    assert rounded.memory.dtype == torch.float32
    torch.testing.assert_close(found.float(), exact, atol=0.1, rtol=0.1)
    found.sum().backward()


def test_no_token_sees_a_later_one():
    """A statistic over the sequence, or a mask off by one, lets the future in: training looks splendid, generation fails."""
    made, x = mixer(), torch.randn(2, 50, 16)
    changed = x.clone()
    changed[:, 30:] += torch.randn(2, 20, 16)
    before, after = made(x)[0], made(changed)[0]
    torch.testing.assert_close(before[:, :30], after[:, :30], atol=1e-6, rtol=1e-6)
    assert (before[:, 30] - after[:, 30]).abs().max() > 1e-3


def test_pieces_equal_the_whole():
    """A state that lacks the token shift, or that the filling of a chunk has changed, shows at the next piece."""
    made, x = mixer(), torch.randn(2, 75, 16)
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
