"""Filters that follow the range: physics at the start, one kernel a range in every form, data that carry the range."""

import math

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.families.sar.data import SarConfig, SceneConfig, preset
from stillhouse.families.sar.data.matched_filter import matched_filter
from stillhouse.families.sar.data.sequences import rate_at
from stillhouse.families.sar.saved import save_model
from stillhouse.families.sar.stream import stream
from stillhouse.families.sar.students import StateSpaceConfig
from stillhouse.families.sar.students.documented import get_model_from_configs
from stillhouse.families.sar.students.pruning import prune
from stillhouse.families.sar.students.quantization import quantize
from stillhouse.families.sar.students.truncation import truncate
from stillhouse.families.sar.use import LinePredictor
from stillhouse.layers.state_space import S4D

SPREAD = 0.3
RANGE = {"input_dim": 2, "condition": "range", "range_spread": SPREAD}


def network(**settings):
    torch.manual_seed(0)
    return StateSpaceConfig(**{"model_dim": 4, "state_dim": 12, "num_layers": 2, **RANGE, **settings}).build().eval()


def scene(column, length=80):
    lines = torch.randn(1, length, 2, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    lines[..., 1] = torch.complex(torch.tensor(column), torch.arange(length) / length)
    return lines


@pytest.mark.parametrize("ahead", [0, 9, None])
def test_the_time_unit_is_that_of_the_range(ahead):
    """By hand: exp(w dt s (l - D)) with s = sqrt(R0 / R), stretched about the line that is focused, not about the first sample."""
    torch.manual_seed(0)
    layer = S4D(2, 3, look_ahead=ahead, range_spread=SPREAD).double()
    layer.log_dt.data.copy_(torch.tensor([0.1, -0.2]))
    column, place = torch.tensor([0.0, 0.5, 0.9]), np.arange(40)
    found = layer.kernel(40, column=column).detach().numpy()
    w = -np.exp(layer.log_decay.detach().numpy()) + 1j * layer.frequency.detach().numpy()  # (1, 3)
    dt = np.exp(layer.log_dt.detach().numpy())[:, None]
    read = layer.output.detach().numpy()
    for row, x in enumerate(column.tolist()):
        unit, middle = dt / math.sqrt(1 + SPREAD * (x - 0.5)), ahead or 0
        weights = (read[..., 0] + 1j * read[..., 1]) * (np.exp(w * unit) - 1) / w
        time = unit[..., None] * (place - middle) + dt[..., None] * middle
        expected = (weights[..., None] * np.exp(w[..., None] * time)).sum(1)
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-7)


def test_physics_alone_follows_the_rate():
    """A filter fitted to the chirp of the middle range focuses at the others by its time unit; as it stands it loses most of it."""
    radar, half, inner = preset("toy-64"), 40, np.abs(np.arange(-40, 41)) <= 20
    layer = S4D(1, 96, look_ahead=half, range_spread=SPREAD, memory=200.0).double()
    poles = layer.discrete()[0][0, 0].detach().numpy()
    middle = matched_filter(radar, half=half)
    factor = (poles - 1) / np.log(poles)
    read, *_ = np.linalg.lstsq((poles ** np.arange(81)[:, None]) * factor, middle, rcond=1e-6)
    layer.output.data.copy_(torch.view_as_real(torch.from_numpy(read))[None])
    near, same, far = layer.kernel(81, column=torch.tensor([0.0, 0.5, 1.0])).detach().numpy()[:, 0]

    def error(one, other):  # a factor aside: the gain follows the range too, and is learned
        factor = np.vdot(one, other) / np.vdot(one, one).real
        return 10 * math.log10(np.sum(abs(factor * one - other) ** 2) / np.sum(abs(other) ** 2))

    assert error(same, middle) < -60
    for kernel, column in ((near, 0.0), (far, 1.0)):
        wanted = matched_filter(radar, azimuth_rate=rate_at(radar, np.array(column), SPREAD), half=half)
        assert error(middle, wanted) > -1  # the wrong rate
        assert (
            error(kernel, wanted) < -11
        )  # what is left is the edge of the aperture, which grows by R and not by its root
        assert error(kernel * inner, wanted * inner) < -25


def test_the_range_decides_the_filter_and_nothing_else_does():
    """A condition that is read and dropped would be a network of one rate, and no shape would show it."""
    model = network(look_ahead=6)
    near, far = scene(0.1), scene(0.9)
    with torch.no_grad():
        a, b = model(near), model(far)
        assert ((a - b).norm() / a.norm()).item() > 0.05
        both = model(torch.cat([near, far]))
        torch.testing.assert_close(both, torch.cat([a, b]), rtol=1e-4, atol=1e-5)  # each line has its own
        later = near.clone()
        later[:, 1:, 1] = 0.7  # the range of a line is that of its first sample
        torch.testing.assert_close(model(later), a)
        beyond, edge = scene(1.7), scene(1.0)
        torch.testing.assert_close(model(beyond), model(edge))
        plain = (
            StateSpaceConfig(model_dim=4, state_dim=12, num_layers=2, input_dim=2, position="modulate").build().eval()
        )
        torch.testing.assert_close(plain(near), plain(far))  # its modulation starts at 0


def test_every_part_of_the_condition_learns():
    """Read-outs that are never adjusted stop at the edges of the band."""
    for settings in ({"look_ahead": 6}, {}):
        model = network(**settings)
        model(scene(0.2)).abs().square().mean().backward()
        names = {n for n, _ in model.named_parameters() if "condition" in n}
        assert len(names) == 2 * (2 if settings else 3)
        assert all(p.grad.abs().max() > 0 for n, p in model.named_parameters() if n in names)


def test_what_does_not_fit_is_refused():
    """A spread without a condition would do nothing; a truncated filter would be that of one range."""
    for wrong, words in (
        ({"range_spread": 0.3}, "range_spread: expected with condition 'range'"),
        ({"condition": "range", "input_dim": 2}, "range_spread: expected with condition 'range'"),
        ({"condition": "range", "range_spread": 0.3}, "condition: 'range' takes the last of input_dim channels"),
    ):
        with pytest.raises((ConfigError, ValueError), match=words):
            parse(StateSpaceConfig, wrong)
    with pytest.raises(InputError, match="whose filters follow the range"):
        truncate(network(), 8)


def test_the_documented_words_take_it():
    """In a documented file two input channels mean a code that scales the embedding, unless it sets the filters."""
    model = get_model_from_configs(name="s4_ssm", model_dim=2, state_dim=4, num_layers=1, **RANGE)
    assert (model.config.condition, model.config.position, model.config.signal_channels) == ("range", "none", 1)


def test_lines_carry_their_range_and_training_ranges_can_be_few():
    """Test lines at ranges that were trained on would show no interpolation."""
    few = {"train_columns": [0.0, 0.5, 1.0], "rate_spread": SPREAD, "position_channel": True}
    config = parse(SarConfig, {"train": 12, "validation": 6, "test": 8, "length": 160, **few})
    data = config.build()
    for split in (data.train, data.validation):
        assert set(split.facts["column"]) <= {0.0, 0.5, 1.0}
    assert len(set(data.train.facts["column"])) == 3
    assert not set(data.test.facts["column"]) & {0.0, 0.5, 1.0}
    np.testing.assert_allclose(data.test.inputs[:, 0, 1].real.numpy(), data.test.facts["column"], rtol=1e-6)
    radar = preset("toy-64")
    by_hand = radar.rate / (1 + SPREAD * (data.test.facts["column"] - 0.5))  # Ka = 2 v^2 / (wavelength R)
    np.testing.assert_allclose(data.test.facts["azimuth_rate"], by_hand)
    with pytest.raises(ConfigError, match="train_columns: expected places from 0"):
        parse(SarConfig, {"train_columns": [1.2]})
    plain = parse(SarConfig, {"train": 4, "validation": 2, "test": 2, "length": 160, "scene": {"points_max": 5}})
    assert plain.scene == SceneConfig(points_max=5)
    assert plain.train_columns == ()


def test_a_saved_network_streams_and_predicts_bins_at_their_ranges(tmp_path):
    """Bins given one range would be focused at one rate; what the command prints would look as good."""
    config = parse(SarConfig, {"train": 4, "validation": 2, "test": 2, "length": 160, "rate_spread": SPREAD})
    model = network(look_ahead=8)
    save_model(tmp_path, model, config.build())
    raw = np.random.default_rng(0).normal(size=(3, 80, 2)).astype(np.float32).view(np.complex64)[..., 0]
    np.save(tmp_path / "raw.npy", raw)
    found = stream(tmp_path, source=tmp_path / "raw.npy", out=tmp_path / "out.npy", check=True, columns=(0.2, 0.8))
    assert found.error < 1e-5
    along = 1j * np.arange(80, dtype=np.float32) / 80
    coded = np.stack([np.stack([raw[n], x + along], -1) for n, x in enumerate((0.2, 0.5, 0.8))])
    predicted = LinePredictor(tmp_path).predict(coded.astype(np.complex64))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), predicted, rtol=1e-3, atol=1e-4 * abs(predicted).max())
    with pytest.raises(InputError, match="position code last"):
        LinePredictor(tmp_path).predict(raw)


def test_eight_bits_and_pruning_keep_the_condition():
    """Both make a copy of a network by its parameters; a condition left out would be one rate again."""
    model, lines = network(look_ahead=6), torch.cat([scene(0.1), scene(0.9)])
    for small in (quantize(model, lines)[0], prune(model, 0.1, lines)[0]):
        with torch.no_grad():
            assert ((small(scene(0.1)) - small(scene(0.9))).norm() / small(scene(0.1)).norm()).item() > 0.05
