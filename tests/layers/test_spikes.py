"""Spike units and ternary weights: hard forward, a gradient for every parameter, and a density that goes where it is told."""

import copy

import pytest
import torch
from scipy.stats import norm

from stillhouse.layers.spikes.unit import SHARE_UNIT, SpikeUnit, spike_counts
from stillhouse.layers.straight_through import ternary_codes, ternary_weight


def unit(threshold=1.0, amplitude=2.0, **settings):
    made = SpikeUnit(1, **settings)
    made.raw_threshold.data.fill_(float(torch.tensor(threshold).expm1().log()))
    made.amplitude.data.fill_(amplitude)
    return made


def gradients(made, x):
    x = torch.tensor([[x]], requires_grad=True)
    y = made(x)
    y.backward()
    d_threshold = made.raw_threshold.grad / torch.sigmoid(made.raw_threshold.detach())  # d softplus
    return y.item(), x.grad.item(), d_threshold.item(), made.amplitude.grad.item()


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        # y, dy/dx = A / (2 theta) within two thresholds, dy/dtheta = -(x / theta) dy/dx, dy/dA = counts
        (0.5, (0.0, 1.0, -0.5, 0.0)),
        (1.5, (2.0, 1.0, -1.5, 1.0)),
        (-1.5, (-2.0, 1.0, 1.5, -1.0)),
        (3.0, (2.0, 0.0, 0.0, 1.0)),
    ],
)
def test_values_and_gradients_of_a_ternary_unit(x, expected):
    """In the public code the threshold sat under no_grad: "learnable" and dead. The signs are those of the closed form."""
    assert gradients(unit(), x) == pytest.approx(expected, abs=1e-5)


def test_the_start_hits_the_density_on_normal_inputs():
    """Gaussian quantile: 0.3 of a normal lies beyond 1.036; the amplitude is the mean of what fires."""
    made = SpikeUnit(4, density=0.3)
    threshold = norm.isf(0.15)
    assert made.threshold.tolist() == pytest.approx([threshold] * 4, abs=1e-4)
    assert made.amplitude.tolist() == pytest.approx([norm.pdf(threshold) / 0.15] * 4, abs=1e-3)
    torch.manual_seed(0)
    made(torch.randn(20000, 4))
    assert made.rate.tolist() == pytest.approx([0.3] * 4, abs=0.015)


def test_one_sided_units_are_silent_below_zero():
    """Spikes for relu^2 must not fire at what relu^2 cuts off."""
    made = unit(signed=False, levels=2)
    assert made(torch.tensor([[-5.0], [0.5], [1.5], [9.0]])).flatten().tolist() == [0.0, 0.0, 2.0, 4.0]
    x = torch.linspace(-5, 12, 17001).unsqueeze(1).requires_grad_()
    made(x).sum().backward()
    assert (
        x.grad[x < 0].abs().max() == 0
    )  # nor may it learn there: its weights would be pushed by units that said nothing
    assert x.grad.sum().item() / 1000 == pytest.approx(4.0, rel=1e-2)
    made.share.zero_()
    assert made(torch.tensor([[-5.0], [3.0]])).flatten().tolist() == [0.0, 9.0]


@pytest.mark.parametrize("start", [0.02, 8.0])
def test_the_regularizer_moves_the_density_to_its_target(start):
    """A density term without a gradient on the threshold is a number in a log; from silence and from always-on alike."""
    torch.manual_seed(0)
    made = unit(start, density=0.25)
    optimizer = torch.optim.Adam([made.raw_threshold], lr=0.1)
    x = torch.randn(2000, 1)
    for _ in range(150):
        optimizer.zero_grad()
        made(x)
        made.penalty(0.01).backward()
        optimizer.step()
    assert made.rate.item() == pytest.approx(0.25, abs=0.03)


def test_fitted_thresholds_fire_at_the_density_of_their_own_inputs():
    """Thresholds made for unit inputs never fire at inputs a hundred times smaller."""
    torch.manual_seed(0)
    made, x = SpikeUnit(3, density=0.2), torch.randn(5000, 3) * torch.tensor([0.01, 1.0, 50.0])
    made.fit(x)
    made(x)
    assert made.rate.tolist() == pytest.approx([0.2] * 3, abs=0.01)
    counts = spike_counts(x, made.threshold)
    for scale in (0.9, 1.1):  # least squares: any other amplitude is worse
        assert ((x - counts * made.amplitude) ** 2).sum() < ((x - counts * made.amplitude * scale) ** 2).sum()


def test_a_token_spikes_alone_as_in_company():
    """Thresholds from batch or sequence statistics, as the public design has them, change with what comes later."""
    made, x = SpikeUnit(8), torch.randn(3, 10, 8)
    torch.testing.assert_close(made(x)[1, 4], made(x[1, 4]), atol=0, rtol=0)


def test_the_ramp_goes_from_dense_to_spikes():
    """Share 0 is the input, share 1 only multiples of the amplitude, and a half lies between."""
    made, x = unit(), torch.tensor([[0.5], [1.5]])
    values = []
    for share in (0, SHARE_UNIT // 2, SHARE_UNIT):
        made.share.fill_(share)
        values.append(made(x).flatten().tolist())
    assert values == [[0.5, 1.5], pytest.approx([0.25, 1.75]), [0.0, 2.0]]


def test_nan_is_not_turned_into_silence():
    """NaN > threshold is false: a broken network would go on with zeros."""
    for levels in (1, 3):
        assert SpikeUnit(1, levels=levels)(torch.tensor([[float("nan")]])).isnan().all()


def test_a_used_unit_can_be_copied():
    """The rate of the last pass is no leaf, and deepcopy (averages of weights) refuses those."""
    made = SpikeUnit(2)
    made(torch.randn(4, 2))
    assert copy.deepcopy(made).rate is None


def test_ternary_codes_follow_the_mean():
    """BitNet b1.58: half of the mean is the border."""
    weight = torch.tensor([[1.0, -1.0, 0.0, 2.0], [0.4, 0.1, -0.1, 0.1]])
    codes, scale = ternary_codes(weight)
    assert scale.item() == pytest.approx(0.5875)
    assert codes.tolist() == [[1, -1, 0, 1], [1, 0, 0, 0]]
    assert ternary_codes(torch.zeros(2, 2))[0].abs().sum() == 0


def test_ternary_weights_are_exact_forward_and_straight_through_backward():
    """Written the wrong way round the estimator trains nothing; added to w it is off by a rounding and not ternary."""
    torch.manual_seed(0)
    weight = torch.randn(20, 30, requires_grad=True)
    codes, scale = ternary_codes(weight.detach())
    quantized = ternary_weight(weight)
    assert torch.equal(quantized, codes * scale)
    direction = torch.randn(20, 30)
    (quantized * direction).sum().backward()
    torch.testing.assert_close(weight.grad, direction)
    torch.testing.assert_close(ternary_weight(weight, 0.25), weight + 0.25 * (codes * scale - weight))
    assert ternary_weight(weight, 0.0) is weight
