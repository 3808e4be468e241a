"""Complex maps, activations and gate: phase, closed forms, and that each does something."""

import math

import numpy as np
import pytest
import torch

from stillhouse.layers.state_space.block import ComplexLinear, ModulusActivation, PhaseGate, StateSpaceBlock
from stillhouse.layers.state_space.s4d import S4D

TURN = torch.exp(torch.tensor(2.1j))


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_linear_map_multiplies_complex_numbers():
    """Two real maps on the parts, as in the public code, are not complex multiplication."""
    torch.manual_seed(0)
    linear, x = ComplexLinear(5, 4), noise(2, 3, 5)
    w = linear.weight.detach().numpy()
    expected = x.numpy() @ (w[..., 0] + 1j * w[..., 1]).T
    np.testing.assert_allclose(linear(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    wide = ComplexLinear(400, 300, gain=0.5)(noise(50, 400))
    assert wide.abs().square().mean().sqrt().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("name", ["gelu", "identity", "relu", "silu"])
def test_activations_keep_the_phase_and_act_on_the_modulus(name):
    """An activation of the parts turns phases; one that is the identity on moduli does nothing."""
    activation, x = ModulusActivation(name, 6, threshold=0.4), noise(4, 6)
    y = activation(x)
    torch.testing.assert_close(activation(TURN * x), TURN * y)
    alive = y.abs() > 1e-6
    assert (y[alive] / x[alive]).imag.abs().max().item() < 1e-6
    assert (y[alive] / x[alive]).real.min().item() > 0
    assert torch.allclose(y, x) == (name == "identity")
    steps = activation(torch.linspace(0, 5, 301).unsqueeze(-1).expand(-1, 6) + 0j).abs()
    assert (steps.diff(dim=0) >= -1e-6).all()
    assert steps.diff(dim=0).max().item() < 0.05  # no jump
    zero = torch.zeros(2, 6, dtype=torch.complex64, requires_grad=True)
    activation(zero).abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(zero.grad)).all()


def test_the_gate_reads_magnitude_and_relative_phase_only():
    """A raw angle jumps at pi and follows the global phase; |h| alone cannot see Doppler."""
    torch.manual_seed(0)
    gate, h = PhaseGate(4), noise(2, 9, 4)
    factors = gate(h)
    assert factors.min() > 0
    assert factors.max() < 2
    torch.testing.assert_close(gate(TURN * h), factors, atol=1e-5, rtol=0)
    ramp = torch.exp(0.7j * torch.arange(9.0)).reshape(1, 9, 1)
    assert (gate(ramp * h) - factors)[:, 1:].abs().max() > 1e-3  # another Doppler
    assert (gate(3 * h) - factors).abs().max() > 1e-3  # another magnitude
    torch.testing.assert_close(gate(h[:, 4:], h[:, 3]), factors[:, 4:])
    assert (gate(h[:, 4:]) - factors[:, 4:])[:, 0].abs().max() > 1e-4
    across = torch.exp(1j * torch.tensor([math.pi - 1e-3, -math.pi + 1e-3]))  # the same turn within 2e-3
    close = gate(torch.stack([torch.ones(2), across], 1).reshape(2, 2, 1).expand(-1, -1, 4))
    assert (close[0] - close[1]).abs().max() < 1e-2
    silent = torch.zeros(1, 3, 4, dtype=torch.complex64, requires_grad=True)
    gate(silent).sum().backward()
    assert torch.isfinite(torch.view_as_real(silent.grad)).all()


def block(**settings):
    torch.manual_seed(1)
    return StateSpaceBlock(S4D(4, 6, look_ahead=settings.pop("look_ahead", 0)), **settings)
