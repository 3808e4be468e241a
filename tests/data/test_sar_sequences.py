"""Data sets of lines: splits, scale, position code, filters. Values from theory or from the generator below them."""

import numpy as np
import pytest
import torch

from stillhouse.core.config import ConfigError, parse
from stillhouse.tasks.sar.data import SarConfig, SceneConfig
from stillhouse.tasks.sar.data.radar import convolve_lines
from stillhouse.tasks.sar.data.sequences import rate_at

SMALL = {"train": 12, "validation": 4, "test": 6, "length": 200}
YEARS = {"train_years": [2023], "validation_years": [2024], "test_years": [2025]}
WHITE = SceneConfig(homogeneous=1, texture=0, regions=0, points_min=0, points_max=0)


def built(**changes):
    return SarConfig(**{**SMALL, **changes}).build()


def test_the_scale_is_one_number_a_side_fitted_on_train():
    """Root mean square 1 on train, not quite on the rest; nothing is shifted, so phases and ratios are those of the raw data."""
    data = built(snr_db=None)
    for part in (data.train.inputs, data.train.targets):
        assert part.abs().square().mean().sqrt().item() == pytest.approx(1, rel=1e-5)
    assert data.test.inputs.abs().square().mean().sqrt().item() != pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("changes", [{}, {"rate_spread": 0.3, "length": 260}])
def test_the_filter_of_each_line_gives_its_target(changes):
    """Kernels are for scaled data and know each line's rate: the anchor must be exact, in every split."""
    data = built(snr_db=None, **changes)
    for split in data.splits.values():
        focused = convolve_lines(split.inputs[..., 0].numpy(), data.kernels(split))[:, data.valid]
        np.testing.assert_allclose(focused, split.targets[:, data.valid, 0].numpy(), atol=2e-5)


def test_splits_share_no_acquisition():
    """Rows of one acquisition on two sides would share its pointing and its scene."""
    data = built()
    takes = [set(split.facts["acquisition"].tolist()) for split in data.splits.values()]
    assert [len(take) for take in takes] == [4, 4, 4]
    assert not takes[0] & takes[1]
    assert not takes[1] & takes[2]
    assert not torch.equal(data.validation.inputs[:4], data.test.inputs[:4])


def test_the_azimuth_rate_varies_with_range_and_the_position_tells_it():
    """Ka goes as 1 / R; from x = Re p alone the rate of a line can be computed."""
    data = built(rate_spread=0.3, position_channel=True, train=40, length=260)
    rate = data.train.facts["azimuth_rate"]
    nominal = data.parameters.rate
    assert rate.min() < 0.95 * nominal
    assert rate.max() > 1.05 * nominal
    x = data.train.inputs[:, 0, 1].real.numpy()
    np.testing.assert_allclose(rate_at(data.parameters, x, 0.3), rate, rtol=1e-5)
    np.testing.assert_allclose(
        rate_at(data.parameters, np.array([0.0, 0.5, 1.0]), 0.3), nominal / np.array([0.85, 1, 1.15])
    )


def test_noise_is_in_the_inputs_only():
    """The matched filter of noisy data errs by the noise in its band: 10 dB over 1.3."""
    data = SarConfig(train=32, validation=4, test=4, snr_db=10.0, scene=WHITE).build()
    focused = convolve_lines(data.train.inputs[..., 0].numpy(), data.kernels(data.train))[:, data.valid]
    targets = data.train.targets[:, data.valid, 0].numpy()
    assert np.sum(np.abs(focused - targets) ** 2) / np.sum(np.abs(targets) ** 2) == pytest.approx(0.1 / 1.3, rel=0.1)


@pytest.mark.parametrize("position_channel", [False, True])
def test_points_for_measuring(position_channel):
    """Between samples, in the middle, on the data's scale, focused by their kernels to their peaks."""
    data = built(rate_spread=0.2, position_channel=position_channel, length=300)
    points = data.points(5, seed=1)
    assert points.inputs.shape == (5, 300, data.channels)
    assert (np.abs(points.positions - 149.5) <= 4).all()
    focused = convolve_lines(points.inputs[..., 0].numpy(), points.kernels)
    np.testing.assert_allclose(focused[:, data.valid], points.targets[:, data.valid, 0].numpy(), atol=1e-3)
    same, other = data.points(5, seed=1), data.points(5, seed=2)
    assert torch.equal(same.inputs, points.inputs)
    assert not torch.equal(other.inputs, points.inputs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "toy-63"}, "preset: expected one of toy-64"),
        ({"preset": "toy-64", "parameters": {"azimuth_rate": 3e4}}, "preset, parameters: expected one of them"),
        ({"source": "zarr"}, "products: expected with source 'zarr'"),
        ({"products": YEARS}, "products: expected with source 'zarr'"),
        ({"source": "zarr", "products": YEARS}, "length: expected a number of azimuth samples"),
        (
            {"source": "zarr", "length": 64, "products": {**YEARS, "level_from": "az"}},
            "level_to: expected a level after",
        ),
        ({"source": "zarr", "length": 64, "products": {"train_years": [2023]}}, "validation_years"),
        ({"source": "zarr", "length": 64, "products": {**YEARS, "test_years": [2023]}}, "expected every year once"),
        ({"train": 0}, "train"),
        ({"snr": 3}, "snr"),
    ],
)
def test_configurations_that_cannot_be(settings, message):
    """Named at once, not found out an hour later."""
    with pytest.raises(ConfigError, match=message):
        parse(SarConfig, settings)
