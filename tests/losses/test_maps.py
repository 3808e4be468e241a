"""Maps of activity and matrices of mixing: theory, torch's own functions, invariances."""

import pytest
import torch
from torch.nn import functional as F

from stillhouse.core.checks import InputError
from stillhouse.losses import activation_energy, attention_transfer, mixing_distance


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_maps_equal_the_published_ones_whatever_the_width():
    """normalize(mean over channels of x^2), the sum of squared differences; a width of its own on each side."""
    s, t = draw(0, 3, 7, 4), draw(1, 3, 7, 9)
    ours, theirs = (F.normalize(x.pow(2).mean(2), dim=1) for x in (s, t))
    found = attention_transfer(activation_energy(s), activation_energy(t))
    torch.testing.assert_close(found, (ours - theirs).pow(2).sum(1))
    cosine = F.cosine_similarity(s.pow(4).mean(2), t.pow(4).mean(2))
    found = attention_transfer(activation_energy(s, power=4.0), activation_energy(t, power=4.0))
    torch.testing.assert_close(found, 2 - 2 * cosine)


def test_turned_and_scaled_channels_are_no_difference():
    """Energy at power 2 does not depend on the basis of the channels, nor on the side's loudness."""
    t = draw(1, 3, 7, 5)
    turn = torch.linalg.qr(draw(2, 5, 5)).Q
    torch.testing.assert_close(
        attention_transfer(activation_energy(3 * t @ turn), activation_energy(t)), torch.zeros(3).double()
    )
    moved = attention_transfer(activation_energy(t.roll(1, 1)), activation_energy(t))
    assert (moved > 0.01).all()


def test_a_silent_map_has_no_direction_and_no_nan():
    """Spiking layers are silent at the start."""
    s = torch.zeros(2, 4, 3, requires_grad=True)
    found = attention_transfer(activation_energy(s), activation_energy(torch.ones(2, 4, 3)))
    assert found.tolist() == pytest.approx([1.0, 1.0])
    found.sum().backward()
    assert torch.isfinite(s.grad).all()
    with pytest.raises(InputError, match="expected \\(B, N, D\\)"):
        activation_energy(torch.zeros(2, 3))
    with pytest.raises(InputError):
        attention_transfer(torch.zeros(2, 3), torch.zeros(2, 4))


def test_mixing_is_the_frobenius_distance_over_rows_and_heads():
    """Real and complex; rows of unit length forget their size, and padded rows count nothing."""
    a, b = draw(0, 2, 3, 4, 4), draw(1, 2, 3, 4, 4)
    expected = torch.linalg.matrix_norm(a - b).square().mean(1) / 4
    torch.testing.assert_close(mixing_distance(a, b), expected)
    turned = mixing_distance(torch.complex(a, a), torch.complex(b, b))
    torch.testing.assert_close(turned, 2 * expected)
    size = torch.rand(2, 3, 4, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(mixing_distance(size * b, b, rows="unit-length"), torch.zeros(2).double())
    assert (mixing_distance(size * b, b) > 1e-3).all()
    asked = torch.tensor([[True, True, False, False], [True] * 4])
    found = mixing_distance(a, b, asked=asked)
    torch.testing.assert_close(found[0], (a - b)[0, :, :2].square().sum(2).mean())
    torch.testing.assert_close(found[1], expected[1])
    with pytest.raises(InputError, match="expected \\(B, H, L, L\\)"):
        mixing_distance(a[:, :, :3], b[:, :, :3])
