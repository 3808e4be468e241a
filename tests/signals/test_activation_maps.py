"""Maps of layers of unlike kinds, joined at the coarser grid."""

import pytest
import torch
from torch.nn import functional as F

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.features import ActivationMapsConfig

NOW, BATCH = Progress(0, 1), Batch(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), torch.arange(3))


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_tokens_with_a_class_token_against_a_larger_map():
    """The map is made first and averaged then: channels that cancel in the average are active all the same."""
    s, t = draw(0, 3, 17, 6).requires_grad_(), draw(1, 3, 5, 8, 8).requires_grad_()
    spec = OutputSpec(2, {"x": (17, 6)}), OutputSpec(2, {"y": (5, 8, 8)})
    signal = ActivationMapsConfig(student="x", teacher="y").build(*spec)
    found = signal(Outputs(s, {"x": s}), Outputs(t, {"y": t}), BATCH, NOW)
    theirs = F.normalize(F.avg_pool2d(t.pow(2).mean(1), 2).flatten(1), dim=1)
    ours = F.normalize(s[:, 1:].pow(2).mean(2), dim=1)
    torch.testing.assert_close(found, (ours - theirs).pow(2).sum(1))
    found.sum().backward()
    assert s.grad[:, 1:].abs().sum() > 0
    assert s.grad[:, 0].abs().sum() == 0
    assert t.grad is None


def test_spikes_over_time_are_averaged_and_single_positions_refused():
    """A pooled vector has one place, where every map is 1."""
    spikes, t = (draw(0, 3, 4, 6, 2, 2) > 0).float(), draw(1, 3, 5, 2, 2)
    spec = OutputSpec(2, {"x": (4, 6, 2, 2)}), OutputSpec(2, {"y": (5, 2, 2)})
    signal = ActivationMapsConfig(student="x", teacher="y", student_layout="btchw").build(*spec)
    found = signal(Outputs(t, {"x": spikes}), Outputs(t, {"y": t}), BATCH, NOW)
    ours, theirs = spikes.mean(1).pow(2).mean(1).flatten(1), t.pow(2).mean(1).flatten(1)
    torch.testing.assert_close(found, 2 - 2 * F.cosine_similarity(ours, theirs))
    vectors = OutputSpec(2, {"x": (6,)}), OutputSpec(2, {"y": (5,)})
    with pytest.raises(InputError, match="two positions at least"):
        ActivationMapsConfig(student="x", teacher="y").build(*vectors)
