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


def test_a_silent_map_has_no_direction_and_no_nan():
    """Spiking layers are silent at the start."""
    s = torch.zeros(2, 4, 3, requires_grad=True)
    found = attention_transfer(activation_energy(s), activation_energy(torch.ones(2, 4, 3)))
    assert found.tolist() == pytest.approx([1.0, 1.0])
    found.sum().backward()
    assert torch.isfinite(s.grad).all()
    with pytest.raises(InputError):
        attention_transfer(torch.zeros(2, 3), torch.zeros(2, 4))


def test_mixing_is_the_frobenius_distance_over_rows_and_heads():
    """Real and complex; padded rows count nothing."""
    a, b = draw(0, 2, 3, 4, 4), draw(1, 2, 3, 4, 4)
    expected = torch.linalg.matrix_norm(a - b).square().mean(1) / 4
    torch.testing.assert_close(mixing_distance(a, b), expected)
    turned = mixing_distance(torch.complex(a, a), torch.complex(b, b))
    torch.testing.assert_close(turned, 2 * expected)
    asked = torch.tensor([[True, True, False, False], [True] * 4])
    found = mixing_distance(a, b, asked=asked)
    torch.testing.assert_close(found[0], (a - b)[0, :, :2].square().sum(2).mean())
    torch.testing.assert_close(found[1], expected[1])
    with pytest.raises(InputError, match="expected \\(B, H, L, L\\)"):
        mixing_distance(a[:, :, :3], b[:, :, :3])
