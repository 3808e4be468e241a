"""A student that teaches itself: who learns from whom, and what is left when a part is off."""

import pytest
import torch
from torch import nn

from stillhouse.core.config import ConfigError, parse
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.layers.taps import Tapped
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.signals.exits import ExitsConfig

NOW = Progress(0, 1)
K = 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, K)
    )


def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(8, 1, 6, 6), torch.arange(8) % K, torch.arange(8))


def parts(**given):
    """The student, what it said, and the signal with exits after both blocks."""
    model = network()
    config = ExitsConfig(exits=("1", "3"), **given)
    tapped = Tapped(model, config.student_paths)
    torch.manual_seed(2)
    return model, tapped(batch().inputs), config.build(tapped.spec(batch().inputs))


def test_the_value_is_the_published_sum():
    """(1 - a) CE + a T^2 KL of every exit, added up; the last scores are the teacher."""
    _, said, signal = parts(alpha=0.3, temperature=2.0)
    exits = signal.exit_logits(said)
    assert list(exits) == ["1", "3"]
    expected = sum(
        0.7 * label_cross_entropy(x, batch().labels) + 0.3 * forward_kl(x, said.logits, temperature=2.0)
        for x in exits.values()
    )
    torch.testing.assert_close(signal(said, None, batch(), NOW), expected)


def test_the_deepest_layer_is_not_pulled_to_the_shallow_ones():
    """Without the stop the network would make its last scores easy to guess."""
    model, said, signal = parts(alpha=1.0)
    signal(said, None, batch(), NOW).mean().backward()
    assert model[5].weight.grad is None  # the last linear layer
    assert model[0].weight.grad.abs().sum() > 0  # the shallow ones learn
    assert model[2].weight.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters() if p.ndim > 1)


def test_the_hint_moves_the_shallow_feature_alone():
    """The last feature is the aim: a hint that also moves it can be met by collapsing both."""
    model, said, signal = parts(alpha=0.0, deepest="5", hint_weight=0.5)
    plain = parts(alpha=0.0)
    with_hint = signal(said, None, batch(), NOW)
    assert not torch.allclose(with_hint, plain[2](plain[1], None, batch(), NOW))
    with_hint.mean().backward()
    assert model[5].weight.grad is None
    assert all(stop.adapter.weight.grad.abs().sum() > 0 for stop in signal.exits)


def test_it_needs_no_teacher():
    """The run must not refuse it for want of one, nor must a teacher's outputs change it."""
    _, said, signal = parts()
    assert ExitsConfig.needs_teacher is False
    torch.testing.assert_close(signal(said, Outputs(torch.randn(8, K)), batch(), NOW), signal(said, None, batch(), NOW))
    config = parse(ExitsConfig, {"exits": ["1"]})
    assert config.student_paths == ("1",)
    with pytest.raises(ConfigError, match="needs_teacher"):
        parse(ExitsConfig, {"exits": ["1"], "needs_teacher": True})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"exits": []}, "exits"),
        ({"exits": ["1", "1"]}, "each path once"),
        ({"exits": ["1"], "hint_weight": 1.0}, "expected both"),
        ({"exits": ["1"], "deepest": "5"}, "expected both"),
        ({"exits": ["1"], "alpha": 1.5}, "alpha"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, text):
    """A path without its factor would do nothing."""
    with pytest.raises(ConfigError, match=text):
        parse(ExitsConfig, given)
