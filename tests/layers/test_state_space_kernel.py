"""The state-space filter against brute force in double precision, and its forms against each other."""

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz

from stillhouse.layers.state_space.kernel import powers
from stillhouse.layers.state_space.s4d import S4D

LENGTHS = [1, 7, 512, 2048]


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def layer(seed=0, **settings):
    torch.manual_seed(seed)
    return S4D(**{"channels": 3, "modes": 10, "memory": 200.0, **settings})


def off(a, b):
    """Relative error: energy of the difference over that of the reference."""
    return ((a - b).norm() / b.norm()).item()


def brute_kernel(s4d, length, which="output"):
    """K[h, l] in numpy and double precision, from the definition."""
    dt = np.exp(s4d.log_dt.detach().double().numpy())[:, None]
    decay, turn = (p.detach().double().numpy() for p in (s4d.log_decay, s4d.frequency))
    w = -np.exp(decay) + 1j * turn
    c = getattr(s4d, which).detach().double().numpy()
    pole = np.exp(dt * w)
    weight = (c[..., 0] + 1j * c[..., 1]) * (pole - 1) / w
    return (weight[:, :, None] * pole[:, :, None] ** np.arange(length)).sum(1)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("shared", [True, False])
def test_the_kernel_is_its_definition_without_the_conjugate_half(length, shared):
    """With 2 Re a kernel cannot tell approaching from receding: half of the focused energy is lost."""
    s4d = layer(shared_modes=shared)
    got = s4d.kernel(length).detach().numpy()
    brute = brute_kernel(s4d, length)
    assert np.linalg.norm(got - brute) < 2e-4 * np.linalg.norm(brute)  # float32 poles drift by l half-ulps
    assert np.abs(got.imag).max() > 0.1 * np.abs(got).max()
    exact = s4d.double().kernel(length).detach().numpy()
    np.testing.assert_allclose(exact, brute, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("look_ahead", [0, 1, 5, 40, None])
def test_the_convolution_is_a_toeplitz_product(look_ahead):
    """A circular wrap, a flipped kernel or a shift by one would all train, on another problem."""
    s4d = layer(look_ahead=look_ahead).double()
    u, length = noise(2, 24, 3).to(torch.complex128), 24
    ahead = look_ahead or 0
    k = brute_kernel(s4d, length + ahead)
    k2 = brute_kernel(s4d, length, "later_output") if look_ahead is None else None
    through = torch.view_as_complex(s4d.feedthrough.detach()).numpy()
    expected = np.empty((2, length, 3), complex)
    for h in range(3):
        padded = np.r_[np.zeros(length), k[h], np.zeros(length)]  # lag l at index length + ahead + l
        center = length + ahead
        column, row = padded[center : center + length], padded[center - length + 1 : center + 1][::-1].copy()
        if k2 is not None:
            row[1:] = k2[h][: length - 1]
        matrix = toeplitz(column, row) + through[h] * np.eye(length)
        expected[..., h] = u[..., h].numpy() @ matrix.T
    np.testing.assert_allclose(s4d(u).detach().numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("length", LENGTHS)
def test_recurrence_and_convolution_agree(length):
    """The form that ships is not the form that was trained, unless both use the same rounded poles."""
    s4d = layer(memory=5000.0)
    u = noise(2, length, 3)
    with torch.no_grad():
        poles, weights = s4d.discrete()
        state, said = torch.zeros(2, 3, 10) + 0j, []
        for t in range(length):
            state = poles * state + u[:, t].unsqueeze(-1)
            said.append((weights * state).sum(-1) + s4d.through() * u[:, t])
        assert off(torch.stack(said, 1), s4d(u)) < 1e-5


def test_the_look_ahead_is_exactly_the_delayed_causal_filter():
    """The latency is a promise: no sample beyond it may matter, and the last one within it has to."""
    s4d, u = layer(look_ahead=4), noise(1, 30, 3)
    changed = u.clone()
    changed[:, 20] += 1
    difference = (s4d(changed) - s4d(u)).abs().amax(-1)[0]
    assert difference[:16].max().item() < 1e-5 * difference.max().item()
    assert difference[16:].min().item() > 1e-3 * difference.max().item()


def test_white_input_keeps_its_power_at_the_start():
    """Without it six layers multiply or bury the signal: the amplitude collapse of the public code."""
    for settings in ({}, {"look_ahead": None}):
        s4d = layer(channels=64, modes=32, memory=50.0, **settings)
        s4d.feedthrough.data.zero_()
        power = s4d(noise(4, 1000, 64)).abs().square().mean().item()
        assert power == pytest.approx(1.0, rel=0.25)


def test_gradients_reach_every_parameter_and_are_right():
    """A detached pole never moves; torch checks the analytic gradient against differences."""
    s4d = layer(channels=2, modes=3, look_ahead=None, shared_modes=False).double()
    names, parameters = zip(*s4d.named_parameters())
    u = noise(1, 9, 2).to(torch.complex128)

    def run(*values):
        return torch.view_as_real(torch.func.functional_call(s4d, dict(zip(names, values)), (u,)))

    assert set(names) == {"log_dt", "log_decay", "frequency", "output", "later_output", "feedthrough"}
    assert torch.autograd.gradcheck(run, parameters)


def test_powers_of_a_pole_on_the_circle_stay_on_it():
    """exp(l log pole) in float32 loses the phase: pi times 100 000 has no digits left after the point's third."""
    pole = torch.tensor([[torch.exp(torch.tensor(3.0j))]])
    many = pole.to(torch.complex128) ** 100_000
    assert (powers(pole, torch.tensor([100_000])).flatten() - many.flatten()).abs().item() < 1e-6
