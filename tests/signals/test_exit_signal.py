"""A student that teaches itself: who learns from whom, and what is left when a part is off."""

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.signals.bridges import Side
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
    extractor = FeatureExtractor(model, config.student_paths)
    torch.manual_seed(2)
    return model, extractor(batch().inputs), config.build(extractor.spec(batch().inputs))


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


def test_alpha_0_leaves_the_labels_and_alpha_1_the_last_scores():
    """A flag that changes nothing is a dead part."""
    _, said, signal = parts(alpha=0.0)
    values = signal(said, None, batch(), NOW)
    ce = sum(label_cross_entropy(x, batch().labels) for x in signal.exit_logits(said).values())
    torch.testing.assert_close(values, ce)
    _, said, signal = parts(alpha=1.0)
    wrong = Batch(batch().inputs, (batch().labels + 1) % K, batch().index)
    torch.testing.assert_close(signal(said, None, batch(), NOW), signal(said, None, wrong, NOW))


def test_equal_exits_have_nothing_to_learn_from_the_last():
    """KL between equals is 0 (a cross-entropy would have a floor)."""
    _, said, signal = parts(alpha=1.0)
    same = signal.exit_logits(said)["1"]
    told = Outputs(same, said.features)
    signal.exits[1] = signal.exits[0]  # both exits say what the last layer says
    torch.testing.assert_close(signal(told, None, batch(), NOW), torch.zeros(8), atol=1e-6, rtol=0)


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


def test_the_hint_is_a_mean_over_the_width():
    """At a zero adapter it is the mean square of a standardized vector, 1, whatever the width."""
    _, said, signal = parts(alpha=0.0, deepest="3", hint_weight=0.5)
    _, bare_said, bare = parts(alpha=0.0)
    for stop in signal.exits:
        nn.init.zeros_(stop.adapter.weight)
        nn.init.zeros_(stop.adapter.bias)
    bare.load_state_dict({k: v for k, v in signal.state_dict().items() if "adapter" not in k})
    gap = signal(said, None, batch(), NOW) - bare(bare_said, None, batch(), NOW)
    torch.testing.assert_close(gap, torch.full((8,), 2 * 0.5), atol=0.02, rtol=0)  # LayerNorm's eps


def test_exits_become_classifiers():
    """Training by the signal alone: exits get better than chance, and their figures say so."""
    model, _, signal = parts()
    torch.manual_seed(3)
    labels = torch.arange(48) % K
    inputs = 0.1 * torch.rand(48, 1, 6, 6) + labels.reshape(-1, 1, 1, 1) * 0.4
    data = Batch(inputs, labels, torch.arange(48))
    extractor = FeatureExtractor(model, ("1", "3"))
    optimizer = torch.optim.Adam([*model.parameters(), *signal.parameters()], lr=0.02)
    for _ in range(60):
        said = extractor(data.inputs)
        loss = signal(said, None, data, NOW).mean() + label_cross_entropy(said.logits, labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    signal(extractor(data.inputs), None, data, NOW)
    assert min(signal.figures().values()) > 0.8
    assert list(signal.figures()) == ["accuracy_1", "accuracy_3"]
    by_hand = (signal.exit_logits(extractor(data.inputs))["1"].argmax(1) == labels).float().mean()
    assert signal.figures()["accuracy_1"] == pytest.approx(by_hand.item())


def test_it_needs_no_teacher():
    """The run must not refuse it for want of one, nor must a teacher's outputs change it."""
    _, said, signal = parts()
    assert ExitsConfig.needs_teacher is False
    torch.testing.assert_close(signal(said, Outputs(torch.randn(8, K)), batch(), NOW), signal(said, None, batch(), NOW))
    config = parse(ExitsConfig, {"exits": ["1"]})
    assert config.student_paths == ("1",)
    with pytest.raises(ConfigError, match="needs_teacher"):
        parse(ExitsConfig, {"exits": ["1"], "needs_teacher": True})


def test_nan_comes_out_and_one_sample_is_enough():
    """No statistics over the batch: a batch of 1 works; a broken row is not hidden."""
    _, said, signal = parts(alpha=0.5)
    one = Outputs(said.logits[:1], {name: x[:1] for name, x in said.features.items()})
    first = Batch(batch().inputs[:1], batch().labels[:1], batch().index[:1])
    torch.testing.assert_close(signal(one, None, first, NOW), signal(said, None, batch(), NOW)[:1])
    broken = said.logits.detach().clone()
    broken[3] = torch.nan
    assert signal(Outputs(broken, said.features), None, batch(), NOW).isnan().tolist().index(True) == 3


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


def test_features_of_every_layout_are_pooled():
    """Averaging channels in place of positions gives a vector, too, and no error."""
    x = torch.randn(2, 5, 4, 3)
    spec = OutputSpec(K, {"v": (5,), "t": (7, 5), "m": (5, 4, 3), "c": (5, 4, 3)})
    maps = Side.of("student", "m", spec)
    assert (maps.width, Side.of("student", "c", spec, "nhwc").width, Side.of("student", "t", spec).width) == (5, 3, 5)
    torch.testing.assert_close(maps.pooled({"m": x}), x.mean((2, 3)))
    torch.testing.assert_close(Side.of("student", "c", spec, "nhwc").pooled({"c": x}), x.mean((1, 2)))
    tokens, vector = torch.randn(2, 7, 5), torch.randn(2, 5)
    torch.testing.assert_close(Side.of("student", "t", spec).pooled({"t": tokens}), tokens.mean(1))
    assert Side.of("student", "v", spec).pooled({"v": vector.bfloat16()}).dtype == torch.float32
    with pytest.raises(InputError, match="student feature 'w' is not among its outputs"):
        Side.of("student", "w", spec)
    with pytest.raises(InputError, match=r"got \(7, 5\) read as nhwc"):
        Side.of("student", "t", spec, "nhwc")
