"""Probes that measure without touching, auxiliary heads that touch, contrast of one's own classes."""

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.neighbours import supervised_contrastive
from stillhouse.signals import FeaturesConfig, LogitsConfig
from stillhouse.signals.exits import ProbesConfig
from stillhouse.signals.relations import ContrastiveConfig
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.training.distillation import SignalSet

SPEC = OutputSpec(3, {"a": (4,), "b": (5, 6)})
NOW = Progress(0, 10)


def said(grad=True):
    torch.manual_seed(0)
    features = {"a": torch.randn(8, 4, requires_grad=grad), "b": torch.randn(8, 5, 6, requires_grad=grad)}
    return Outputs(torch.randn(8, 3), features)


def batch(soft=None):
    return Batch(torch.zeros(8, 1, 2, 2), torch.arange(8) % 3, torch.arange(8), soft)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_probes_learn_and_the_student_feels_them_only_with_a_weight(weight):
    """As published, read-outs without a weight got no gradient at all: their accuracies were of random projections."""
    signal = ProbesConfig(places=("a", "b"), weight=weight).build(SPEC)
    told = said()
    value = signal(told, None, batch(), NOW).mean()
    name, (own_weight, own) = next(iter(signal.regularizers().items()))
    assert (name, own_weight) == ("probes", 1.0)
    torch.testing.assert_close(own.detach(), value.detach())
    (weight * value + own_weight * own).backward() if weight else own.backward()
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters())
    assert (told.features["a"].grad is not None) == (weight > 0)
    if weight:  # the heads get exactly the gradient that they get without a weight
        alone = ProbesConfig(places=("a", "b")).build(SPEC)
        alone.load_state_dict(signal.state_dict())
        alone(said(), None, batch(), NOW)
        alone.regularizers()["probes"][1].backward()
        for p, q in zip(signal.parameters(), alone.parameters()):
            torch.testing.assert_close(p.grad, q.grad)


def test_probes_find_what_is_linearly_there_and_validation_says_so():
    """`component/PLACE` must be a trained read-out's accuracy, of the model that is scored."""
    rng = np.random.default_rng(0)
    images = (rng.random((120, 1, 2, 2)) * 255).astype(np.uint8)
    labels = (images[:, 0, 0, 0] > 127).astype(np.int64)
    data = ImageData.from_arrays(images, labels, config=DataConfig(test_fraction=0.2, validation_fraction=0.3))
    net = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(4, 2))
    spec = OutputSpec(2, {"1": (4,)})
    signals = nn.ModuleList([ProbesConfig(places=("1",)).build(spec)])
    job = ClassificationJob(
        net, data, on_cpu(), seed=0, signal_set=SignalSet(features=("1",), auxiliary_losses=signals)
    )
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.Adam(signals.parameters(), lr=0.05)
    for step in range(150):
        optimizer.zero_grad()
        terms = job.terms(torch.arange(len(data.train)), Progress(step, 150))
        assert terms["aux_loss"][0] == 0.0
        sum(weight * value for weight, value in terms.values()).backward()
        optimizer.step()
    assert job.validate(net).metrics["component/1"] > 0.75
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    assert not list(signals[0].heads[0][0].parameters())  # standardizing learns nothing


def on_cpu():
    from stillhouse.tasks.classification.plan import ClassificationTrainingConfig

    return ClassificationTrainingConfig(device="cpu")


def test_contrast_reads_mixed_labels():
    """With hard labels under mixup, images would be drawn to a class that they are half of."""
    signal = ContrastiveConfig(place="a", temperature=0.5).build(SPEC)
    told = said()
    plain = signal(told, None, batch(), NOW)
    torch.testing.assert_close(plain, supervised_contrastive(told.features["a"], torch.arange(8) % 3, temperature=0.5))
    shares = torch.full((8, 3), 1 / 3)
    mixed = signal(told, None, batch(shares), NOW)
    torch.testing.assert_close(mixed, supervised_contrastive(told.features["a"], shares, temperature=0.5))
    assert not torch.allclose(mixed, plain)
    plain.sum().backward()
    assert told.features["a"].grad.abs().sum() > 0


def test_own_signals_are_learnt_in_every_arm_and_need_no_teacher():
    """An untaught arm that lost them would make the teacher look better than it is."""
    own = (ProbesConfig(places=("norm",)),)
    config = ClassificationRunConfig(auxiliary_losses=own, arms=("kd", "no-kd"))
    assert config.auxiliary_losses == own
    with pytest.raises(ValueError, match="signals without a teacher"):
        ClassificationRunConfig(auxiliary_losses=(FeaturesConfig(student="a", teacher="b"),))
    with pytest.raises(ValueError, match="auxiliary_decay"):
        ClassificationRunConfig(auxiliary_losses=(LogitsConfig(name="ema_kd_loss"),))
    with pytest.raises(ValueError, match="auxiliary_decay"):
        ClassificationRunConfig(auxiliary_decay=0.9)
    assert (
        ClassificationRunConfig(
            auxiliary_losses=(LogitsConfig(name="ema_kd_loss"),), auxiliary_decay=0.9
        ).auxiliary_decay
        == 0.9
    )


def test_the_average_tells_own_logits():
    """Self-distillation beside an external teacher: its own term, from the average's answers, which follow the student."""
    rng = np.random.default_rng(0)
    images = (rng.random((60, 1, 2, 2)) * 255).astype(np.uint8)
    data = ImageData.from_arrays(images, np.arange(60) % 2, config=DataConfig(test_fraction=0.2))
    from stillhouse.teachers.average import AverageTeacher

    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    average = AverageTeacher(net, data.input_spec.example(2), decay=0.9)
    spec = OutputSpec(2)
    own = nn.ModuleList([LogitsConfig(name="ema_kd_loss", weight=0.5).build(spec, spec)])
    job = ClassificationJob(net, data, on_cpu(), seed=0, signal_set=SignalSet(auxiliary_losses=own, average=average))
    weight, value = job.terms(torch.arange(10), NOW)["ema_kd_loss"]
    assert weight == 0.5
    assert value.abs() < 1e-6  # at the start both are one network
    with torch.no_grad():
        net[1].weight.add_(torch.randn_like(net[1].weight))
    apart = job.terms(torch.arange(10), NOW)["ema_kd_loss"][1]
    assert apart > 1e-3
    job.on_train_batch_end(1)
    assert job.terms(torch.arange(10), NOW)["ema_kd_loss"][1] < apart
    assert "average" in job.state_dict()
