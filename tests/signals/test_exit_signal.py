"""A student that teaches itself: who learns from whom, and what is left when a part is off."""

import pytest
import torch
from torch import nn

from stillhouse.core.config import ConfigError, parse
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.regression import label_cross_entropy
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
    config = ExitsConfig(places=("1", "3"), **given)
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


def test_the_deepest_layer_is_not_pulled_to_the_shallow_ones():
    """Without the stop the network would make its last scores easy to guess."""
    model, said, signal = parts(alpha=1.0)
    signal(said, None, batch(), NOW).mean().backward()
    assert model[5].weight.grad is None  # the last linear layer
    assert model[0].weight.grad.abs().sum() > 0  # the shallow ones learn
    assert model[2].weight.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters() if p.ndim > 1)


def test_exits_become_classifiers():
    """Training by the signal alone: exits get better than chance."""
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
    found = signal.exit_logits(extractor(data.inputs))
    assert min((logits.argmax(1) == labels).float().mean() for logits in found.values()) > 0.8


def test_it_needs_no_teacher():
    """The run must not refuse it for want of one, nor must a teacher's outputs change it."""
    _, said, signal = parts()
    assert ExitsConfig.needs_teacher is False
    torch.testing.assert_close(signal(said, Outputs(torch.randn(8, K)), batch(), NOW), signal(said, None, batch(), NOW))


@pytest.mark.parametrize(("given", "text"), [({"places": []}, "places"), ({"places": ["1", "1"]}, "each path once")])
def test_settings_that_cannot_be_meant_are_refused(given, text):
    """Two exits of one path would have one name."""
    with pytest.raises(ConfigError, match=text):
        parse(ExitsConfig, given)
