"""The signal of class scores: every loss, every setting, and where its temperature comes from."""

import copy
import math
from typing import get_args

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.schedules import Linear
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.correlation import dist_relations
from stillhouse.losses.divergence import (
    decoupled_kl,
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
    target_enhanced_kl,
    total_variation,
)
from stillhouse.losses.regression import mse_logits
from stillhouse.losses.softened import standardize_logits
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.signals.logits import LOSSES, LossName
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.temperature import FixedTemperature, LearnedTemperature, ScheduledTemperature
from stillhouse.training.optimizer import extra_groups

B, K = 6, 5
SPEC = OutputSpec(K)
NOW = Progress(3, 10)
LABELS = torch.tensor([0, 4, 2, 1, 1, 3])
BATCH = Batch(torch.zeros(B), LABELS, torch.arange(B))

PLAIN = {
    "forward-kl": lambda s, t: forward_kl(s, t, temperature=2.0),
    "reverse-kl": lambda s, t: reverse_kl(s, t, temperature=2.0),
    "symmetric-kl": lambda s, t: symmetric_kl(s, t, mix=0.5, temperature=2.0),
    "js": lambda s, t: generalized_js(s, t, beta=0.5, temperature=2.0),
    "skew-forward-kl": lambda s, t: skew_forward_kl(s, t, skew=0.1, temperature=2.0),
    "skew-reverse-kl": lambda s, t: skew_reverse_kl(s, t, skew=0.1, temperature=2.0),
    "total-variation": lambda s, t: total_variation(s, t, temperature=1.0),
    "mse": lambda s, t: mse_logits(s, t),
    "centered-mse": lambda s, t: mse_logits(s, t, centered=True),
    "dkd": lambda s, t: decoupled_kl(s, t, LABELS, temperature=2.0, target_weight=1.0, nontarget_weight=8.0),
    "ofa": lambda s, t: target_enhanced_kl(s, t, LABELS, gamma=1.4, temperature=1.0),
    "dist": lambda s, t: dist_relations(s, t, temperature=1.0, inter_weight=1.0, intra_weight=1.0),
}
SETTINGS = {
    "beta": 0.2,
    "normalized": True,
    "mix": 0.9,
    "skew": 0.4,
    "target_weight": 3.0,
    "nontarget_weight": 2.0,
    "inter_weight": 3.0,
    "intra_weight": 0.0,
    "gamma": 3.0,
}


def logits(seed):
    torch.manual_seed(seed)
    return 3 * torch.randn(B, K, dtype=torch.float64)


def value(config, s, t, now=NOW):
    return config.build(SPEC, SPEC)(Outputs(s), Outputs(t), BATCH, now)


def test_no_loss_is_forgotten():
    """A row of the table without a line above would be tested by nothing here."""
    assert set(PLAIN) == set(LOSSES) == set(get_args(LossName))


@pytest.mark.parametrize("loss", PLAIN)
@pytest.mark.parametrize("standardize", [False, True])
def test_the_signal_is_the_plain_function_with_the_documented_defaults(loss, standardize):
    """A wrong entry in the table, or labels and temperature not passed on, would train something else."""
    s, t = logits(0), logits(1)
    expected = PLAIN[loss](*(standardize_logits(x) if standardize else x for x in (s, t)))
    torch.testing.assert_close(value(LogitsConfig(loss=loss, standardize=standardize), s, t), expected)


@pytest.mark.parametrize("loss", PLAIN)
def test_settings_change_the_losses_that_read_them(loss):
    """A setting without effect is believed and reported."""
    s, t = logits(0), logits(1)
    before = value(LogitsConfig(loss=loss), s, t)
    for setting in LOSSES[loss].settings:
        assert not torch.allclose(value(LogitsConfig(loss=loss, **{setting: SETTINGS[setting]}), s, t), before), setting
    assert not torch.allclose(value(LogitsConfig(loss=loss, standardize=True), s, t), before)


@pytest.mark.parametrize("loss", [name for name, row in LOSSES.items() if row.temperature])
@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (3.0, {3: 3.0, 10: 3.0}),
        (FixedTemperature(value=3.0), {3: 3.0, 10: 3.0}),
        (ScheduledTemperature(schedule=Linear(start=1.0, end=8.0)), {0: 1.0, 5: 4.5, 10: 8.0}),
        (LearnedTemperature(initial=4.0), {0: 4.0, 10: 4.0}),
        (LearnedTemperature(initial=4.0, per_sample=True), {0: 4.0}),
    ],
)
def test_any_temperature_may_stand_in_for_a_number(loss, config, numbers):
    """A schedule that is never asked again, or one read at the wrong moment, is a constant."""
    s, t = logits(0), logits(1)
    signal = LogitsConfig(loss=loss, temperature=config).build(SPEC, SPEC)
    for step, number in numbers.items():
        now = signal(Outputs(s), Outputs(t), BATCH, Progress(step, 10))
        torch.testing.assert_close(now, value(LogitsConfig(loss=loss, temperature=number), s, t), rtol=1e-5, atol=1e-6)
        if not isinstance(config, (float, FixedTemperature)):
            assert signal.figures()["temperature"] == pytest.approx(number)


def test_a_learned_temperature_is_learned_saved_and_shown():
    """Not registered it would neither move nor be resumed; its anchor would never reach the loss."""
    learned = LearnedTemperature(initial=4.0, anchor=2.0, anchor_weight=0.03, learning_rate=0.02)
    signals = build_signals((LogitsConfig(temperature=learned),), SPEC, SPEC)
    signal = signals[0]
    assert list(dict(signal.named_parameters())) == ["temperature.weight"]
    assert "temperature.weight" in signal.state_dict()
    assert signal.groups() == [{"params": [signal.temperature.weight], "lr": 0.02, "weight_decay": 0.0}]
    assert [g["lr"] for g in extra_groups(signals)] == [0.02]  # once, though the temperature answers too
    s, t = logits(0), logits(1)
    signal(Outputs(s), Outputs(t), BATCH, Progress(10, 10)).mean().backward()
    assert signal.temperature.weight.grad.abs() > 0
    assert signal.figures() == {"temperature": pytest.approx(4.0), "lambda": 1.0}
    weight, distance = signal.regularizers()["temperature-anchor"]
    assert (weight, distance.item()) == (0.03, pytest.approx(math.log(2) ** 2, rel=1e-5))
    copy.deepcopy(signals)


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ({"temperature": 0.0}, "greater than 0"),
        ({"temperature": "hot"}, "temperature: expected .*, got 'hot'"),
        ({"temperature": {"kind": "learned", "intial": 3.0}}, "did you mean 'initial'"),
        ({"temperature": {"kind": "lerned"}}, "did you mean 'learned'"),
        ({"temperature": {"initial": 3.0}}, "expected one of 'fixed'"),
        ({"loss": "forward_kl"}, "did you mean 'forward-kl'"),
        ({"loss": "dkd", "target_weight": 0.0, "nontarget_weight": 0.0}, "at least one above 0"),
        ({"loss": "dist", "inter_weight": 0.0, "intra_weight": 0.0}, "at least one above 0"),
        ({"loss": "mse", "temperature": 2.0}, "temperature: does nothing under loss 'mse'"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_faults_are_named(signal, words):
    """And the near word offered."""
    with pytest.raises(ConfigError, match=words):
        parse(ClassificationRunConfig, {"signals": [{"kind": "logits", **signal}]})


BLIND = [
    *(({"loss": loss, "standardize": True}, 2) for loss in PLAIN),
    ({"loss": "dist", "intra_weight": 0.0}, 2),
    ({"loss": "dkd", "target_weight": 0.0}, 2),
    *(({"loss": loss}, 1) for loss in PLAIN if loss != "mse"),
]


@pytest.mark.parametrize(("settings", "classes"), BLIND)
def test_too_few_classes_for_a_loss_are_refused(settings, classes):
    """Two standardized scores are always -1 and 1, two probabilities correlate by -1 or 1: the run learned nothing, silently."""
    spec, enough = OutputSpec(classes), OutputSpec(classes + 1)
    with pytest.raises(InputError, match=rf"expected at least {classes + 1} classes for .*, got {classes}"):
        LogitsConfig(**settings).build(spec, spec)
    s = logits(0)[:, : classes + 1].requires_grad_()
    batch = Batch(BATCH.inputs, LABELS % (classes + 1), BATCH.index)
    signal = LogitsConfig(**settings).build(enough, enough)
    signal(Outputs(s), Outputs(logits(1)[:, : classes + 1]), batch, NOW).mean().backward()
    assert s.grad.abs().max() > 1e-3
