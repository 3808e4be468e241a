"""Read-outs by least squares: they find what made the lines, and are what a training starts from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.families.sar.closed_form import fit_read_outs
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.documented import read_student, read_teacher
from stillhouse.families.sar.plan import SarTrainConfig
from stillhouse.families.sar.recipes import recipe_path
from stillhouse.families.sar.run import train
from stillhouse.families.sar.students import StateSpaceConfig
from stillhouse.layers.state_space.condition import polynomials

RANGE = {"input_dim": 2, "condition": "range", "range_spread": 0.3, "range_degree": 2}
SWATH = SarConfig(train=24, validation=4, test=6, length=160, rate_spread=0.3, position_channel=True)


@pytest.fixture(scope="module")
def data():
    return SWATH.build()


def test_polynomials_are_legendre():
    """By NumPy's, over the swath of mean square 1."""
    place = torch.linspace(0, 1, 9, dtype=torch.float64)
    expected = np.polynomial.legendre.legvander(2 * place.numpy() - 1, 20)[:, 1:] * np.sqrt(2 * np.arange(1, 21) + 1)
    np.testing.assert_allclose(polynomials(place, 20).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_read_outs_that_made_the_lines_are_found(data, layers):
    """Lines made by a network with read-outs that follow the range: another one with its poles becomes that network."""
    settings = {"model_dim": 2, "state_dim": 8, "num_layers": layers, "look_ahead": 12, "shared_modes": False, **RANGE}
    torch.manual_seed(0)
    maker = StateSpaceConfig(**settings).build().eval()
    last = maker.blocks[-1].s4d
    last.condition.outputs.data.normal_()
    with torch.no_grad():
        made = replace(data, train=replace(data.train, targets=maker(data.train.inputs)))
        found = StateSpaceConfig(**settings).build().eval()
        found.load_state_dict(maker.state_dict())
        for part in (found.blocks[-1].s4d.output, found.blocks[-1].s4d.condition.outputs):
            part.normal_()
        found.blocks[-1].s4d.feedthrough.normal_()
        assert fit_read_outs(found, made, ridge=1e-12) < 1e-5
        wanted, got = maker(data.test.inputs), found(data.test.inputs)
    assert ((wanted - got).norm() / wanted.norm()).item() < 1e-2  # at ranges of other lines


def test_training_starts_from_them_and_keeps_what_is_best(tmp_path):
    """A start that is not taken leaves a quality below 0; one that training spoils is what the run ships."""
    model = {"model_dim": 1, "state_dim": 144, "num_layers": 1, "look_ahead": 37, "doppler_band": 1.0, "memory": 16.0}
    plain = {"train": 48, "validation": 4, "test": 4, "length": 160, "rate_spread": 0.3, "position_channel": True}
    run = {"data": plain, "model": {**model, **RANGE}, "training": {"epochs": 1, "device": "cpu"}}
    found = train(parse(SarTrainConfig, {**run, "start": "least-squares"}), tmp_path)
    assert found["metrics"]["quality"] > 0.9
    assert found["best_epoch"] == 0  # steps of 1e-2 spoil a solved system


def test_what_has_no_closed_form_is_refused(data):
    """A gate's output is not linear in the read-outs: the system would be that of another network."""
    small = {"model_dim": 1, "state_dim": 8, "num_layers": 1, **RANGE}
    for wrong, words in (
        ({"look_ahead": 4, "use_selectivity": "gate"}, "expected use_selectivity none, got gate"),
        ({"look_ahead": 4, "activation": "gelu"}, "expected activation identity"),
        ({}, "needs a look_ahead"),
    ):
        with pytest.raises(InputError, match=words):
            fit_read_outs(StateSpaceConfig(**small, **wrong).build(), data)
    with pytest.raises((ConfigError, ValueError), match="range_degree: expected with condition 'range'"):
        parse(StateSpaceConfig, {"range_degree": 5})


def test_the_shipped_swath_is_what_the_page_names(tmp_path):
    """And a student's file, whose arms begin alike, refuses the start."""
    config = read_teacher(recipe_path("s4_swath"))
    model = config.model
    assert (config.start, model.condition, model.range_spread, model.range_degree) == (
        "least-squares",
        "range",
        0.3,
        20,
    )
    assert config.data.rate_spread == model.range_spread
    with pytest.raises(ConfigError, match="start: both arms of a seed"):
        read_student(recipe_path("s4_ssm_student_toy"), config, "x", {"start": "least-squares"})
