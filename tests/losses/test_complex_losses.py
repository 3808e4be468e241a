"""Complex losses: closed forms, what a global phase does, and finite gradients where nothing was said."""

import math

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses.complex import (
    coherence_loss,
    complex_mse,
    complex_nmse,
    robust_nmse,
)


def lines(seed, shape=(3, 32, 1)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def robust(student, teacher):
    return robust_nmse(student, teacher, temperature=0.7)


LOSSES = [complex_mse, complex_nmse, robust, coherence_loss]
PHASE_BLIND = [coherence_loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_phase_on_one_side_is_seen_where_it_is_said_to_be(loss):
    """What is blind to phase must not be taken for a task loss."""
    s, t = lines(0), lines(1)
    moved = (loss(1j * s, t) - loss(s, t)).abs().max()
    assert (moved < 1e-12) == (loss in PHASE_BLIND)


def test_nmse_and_coherence_by_numpy():
    """The training objective and the reported figure must be one thing; NumPy's side shares no code."""
    s, t = lines(0, (1, 40)), lines(1, (1, 40))
    p, r = s.numpy(), t.numpy()
    power = [np.sum(np.abs(x) ** 2) for x in (p, r)]
    assert complex_nmse(s, t).item() == pytest.approx(np.sum(np.abs(p - r) ** 2) / power[1])
    assert 1 - coherence_loss(s, t).item() == pytest.approx(abs(np.vdot(p, r)) / np.sqrt(power[0] * power[1]))


@pytest.mark.parametrize("angle", [0.1, 1.0, math.pi / 2, 3.0])
def test_a_turned_line_costs_what_the_angle_says(angle):
    """2 (1 - cos) for the squared error, 1 - cos for the phase; smooth through pi."""
    t = lines(1)
    s = np.exp(1j * angle) * t
    torch.testing.assert_close(complex_nmse(s, t), torch.full((3,), 2 * (1 - math.cos(angle)), dtype=torch.float64))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("silent", ["student", "teacher", "both"])
def test_silence_has_a_value_and_a_gradient(loss, silent):
    """An untrained student may start at 0 and a cut may hold no target: a NaN there ends the run."""
    s, t = lines(0).to(torch.complex64), lines(1).to(torch.complex64)
    s, t = s * (silent == "teacher"), t * (silent == "student")
    s.requires_grad_()
    value = loss(s, t)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(torch.view_as_real(s.grad)).all()


def test_real_numbers_are_refused():
    """They would lose the phase."""
    with pytest.raises(InputError, match=r"expected complex numbers, got torch\.float64"):
        complex_mse(lines(0).real, lines(1).real)


def test_the_temperature_changes_value_and_gradient_and_ends_in_the_plain_error():
    """A temperature that is stored and never used is what the documents have."""
    t = lines(1)
    gradients, values = [], []
    for temperature in (0.5, 2.0, 1e6):
        s = (t + 3 * lines(0)).requires_grad_()
        value = robust_nmse(s, t, temperature=temperature)
        value.sum().backward()
        values.append(value.detach())
        gradients.append(s.grad)
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()
    torch.testing.assert_close(values[2], complex_nmse(t + 3 * lines(0), t))
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3
    # not only another size: at low temperature the worst sample has a smaller share of the pull
    shares = [(g.abs().amax((1, 2)) / g.abs().sum((1, 2))) for g in gradients]
    assert (shares[0] < shares[2]).all()
