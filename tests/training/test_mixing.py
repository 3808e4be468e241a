"""Mixed images, their labels, and what the teacher is shown of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import ClassificationJob, mix
from stillhouse.tasks.classification.plan import (
    ClassificationRunConfig,
    ClassificationTrainingConfig,
    MixingConfig,
)
from stillhouse.training.distillation import SignalSet


def batch(count=6, classes=3):
    """Every image is its label all over, so that its mean says how it was mixed."""
    labels = torch.arange(count) % classes
    return Batch(labels.float()[:, None, None, None].expand(-1, 1, 8, 8).clone(), labels, torch.arange(count))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = (rng.random((90, 1, 8, 8)) * 255).astype(np.uint8)
    return ImageData.from_arrays(images, np.arange(90) % 3, config=DataConfig(test_fraction=0.2))


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_labels_have_the_shares_of_the_pixels(mixup, cutmix):
    """The share of the draw is not that of the box that is cut at the border; a loss by the draw would be wrong."""
    for seed in range(5):
        mixed = mix(batch(), mixup=mixup, cutmix=cutmix, num_classes=3, seed=seed)
        expected = mixed.soft_labels @ torch.arange(3.0)
        torch.testing.assert_close(mixed.inputs.mean((1, 2, 3)), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(mixed.soft_labels.sum(1), torch.ones(6))


def test_the_draw_is_the_seed_s_and_nobody_else_s():
    """Resume repeats a run only if mixing is a function of the step."""
    state = torch.get_rng_state()
    first, again = (mix(batch(), mixup=0.5, cutmix=0.5, num_classes=3, seed=4) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first.inputs, mix(batch(), mixup=0.5, cutmix=0.5, num_classes=3, seed=5).inputs)


def test_a_coin_decides_between_the_two():
    """With both on, one of them must not be dead."""
    blended = [
        bool((mix(batch(), mixup=1.0, cutmix=1.0, num_classes=3, seed=s).inputs % 1 != 0).any()) for s in range(20)
    ]
    assert 3 < sum(blended) < 17


def test_what_cannot_be_mixed_is_refused():
    """A batch of one would be mixed with itself, silently."""
    with pytest.raises(ValueError, match="at least 2 images to mix"):
        ClassificationTrainingConfig(batch_size=1, mixing=MixingConfig(mixup_alpha=0.2))
    with pytest.raises(ValueError, match="unmixed images"):
        ClassificationTrainingConfig(mixing=MixingConfig(cutmix_alpha=0.2), teacher_view="clean")
    with pytest.raises(ValueError, match="two"):
        ClassificationRunConfig(
            signals=(LogitsConfig(loss="dkd"),),
            training=ClassificationTrainingConfig(mixing=MixingConfig(mixup_alpha=0.2)),
        )


def test_ramps_start_at_nothing_and_end_at_all_of_it(data):
    """S1 promises that schedules ease the start; of the images too, not of a number that nobody reads."""
    for name in ("linear", "cosine"):
        config = MixingConfig(mixup_alpha=0.4, mixup_schedule=name)
        course = [config.alphas(epoch, 5)[0] for epoch in range(5)]
        assert course[0] == 0
        assert course == sorted(course)
        assert course[-1] == pytest.approx(0.4)
        assert config.alphas(0, 1)[0] == pytest.approx(0.4)
    assert [MixingConfig(mixup_alpha=0.4).alphas(e, 5)[0] for e in range(5)] == [0.4] * 5
    assert config.alphas_at(Progress(0, 50), 5)[0] == 0
    assert config.alphas_at(Progress(49, 50), 5)[0] == pytest.approx(0.4)
    for name in ("mixup", "cutmix"):
        mixing = MixingConfig(**{f"{name}_alpha": 1.0, f"{name}_schedule": "linear"})
        made = job(data, ClassificationTrainingConfig(epochs=5, mixing=mixing))
        rows = torch.arange(8)
        first, last = (made.batch(rows, Progress(step, 50)) for step in (0, 49))
        assert first.soft_labels is None
        assert last.soft_labels is not None


def job(data, training, seen=None, net=None, **stage_context):
    net = net or nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def teacher(batch):
        seen.append(batch.inputs)
        return Outputs(torch.zeros(len(batch.labels), 3))

    spec = OutputSpec(3)
    signals = build_signals((LogitsConfig(),), spec, spec) if seen is not None else nn.ModuleList()
    taught = SignalSet(teacher if seen is not None else None, signals, **stage_context)
    return ClassificationJob(net, data, training, seed=0, signal_set=taught)


def test_the_teacher_sees_the_mixed_image(data):
    """Targets for clean images would be wrong for what the student is shown (consistency)."""
    seen, heard = [], []
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    net.register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    made = job(data, ClassificationTrainingConfig(mixing=MixingConfig(mixup_alpha=1.0)), seen, net)
    terms = made.terms(torch.arange(8), Progress(0, 10))
    assert torch.equal(seen[0], heard[0])
    assert not torch.equal(seen[0], data.train.batch(torch.arange(8)).inputs)
    plain = job(data, ClassificationTrainingConfig(), [], net).terms(torch.arange(8), Progress(0, 10))
    assert terms["labels"][1] != plain["labels"][1]


def test_the_loss_is_the_mixture_of_the_two_losses(data):
    """CE of shares is the documents' lambda CE(a) + (1 - lambda) CE(b)."""
    logits = torch.randn(4, 3)
    shares = torch.tensor([[0.3, 0.7, 0.0]] * 4)
    both = 0.3 * label_cross_entropy(logits, torch.zeros(4).long()) + 0.7 * label_cross_entropy(
        logits, torch.ones(4).long()
    )
    torch.testing.assert_close(label_cross_entropy(logits, shares), both)


@pytest.mark.parametrize("mixing", [MixingConfig(), MixingConfig(mixup_alpha=1.0)])
def test_labels_are_smoothed_once_mixed_or_not(data, mixing):
    """(1 - e) y + e / K, by hand: mixed images have soft labels, and those are smoothed too."""
    made = job(data, ClassificationTrainingConfig(label_smoothing=0.2, mixing=mixing))
    rows, now = torch.arange(8), Progress(0, 10)
    shown = made.batch(rows, now)
    shares = nn.functional.one_hot(shown.labels, 3).float() if shown.soft_labels is None else shown.soft_labels
    log_q = torch.log_softmax(made.model(shown.inputs), 1)
    expected = -((0.8 * shares + 0.2 / 3) * log_q).sum(1).mean()
    torch.testing.assert_close(made.terms(rows, now)["labels"][1], expected)


def test_a_last_row_alone_is_not_mixed(data):
    """An epoch whose last batch has one row must not die there."""
    made = job(data, ClassificationTrainingConfig(mixing=MixingConfig(mixup_alpha=1.0)))
    assert torch.isfinite(made.terms(torch.arange(1), Progress(0, 10))["labels"][1])


def test_training_accuracy_under_mixup_counts_shares(data):
    """Against the unmixed label it would be meaningless."""
    training = ClassificationTrainingConfig(mixing=MixingConfig(mixup_alpha=1.0), report_train=True)
    made = job(data, training)
    with torch.no_grad():
        made.model[1].weight.zero_()
        made.model[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    rows = torch.arange(len(data.train))
    made.terms(rows, Progress(0, 10))
    share = float((data.train.labels == 0).float().mean())
    assert made.validate(made.model).metrics["train_accuracy"] == pytest.approx(share, abs=1e-6)
    assert "train_accuracy" not in made.validate(made.model).metrics  # nothing seen since


def test_test_accuracy_is_recorded_when_asked_and_never_chosen_by(data):
    """The rank must not change."""
    plain, asked = job(data, ClassificationTrainingConfig()), job(data, ClassificationTrainingConfig(report_test=True))
    a, b = plain.validate(plain.model), asked.validate(plain.model)
    assert "test_accuracy" in b.metrics
    assert "test_accuracy" not in a.metrics
    assert a.rank == b.rank


def test_texts_are_not_mixed(data):
    """Blending token numbers would train on nonsense."""
    from stillhouse.tasks.classification.data.rows import RowData

    texts = RowData.from_texts(
        [(["ab"] * 4, [0, 1] * 2)] * 3, lambda t: [1, 2], class_names=["a", "b"], vocabulary=3, length=2
    )
    with pytest.raises(InputError, match="mix images"):
        ClassificationJob(
            nn.Identity(), texts, ClassificationTrainingConfig(mixing=MixingConfig(mixup_alpha=1.0)), seed=0
        )


def test_randaugment_changes_images_by_operations_and_magnitude(data):
    """And is a function of the seed alone."""
    config = DataConfig(test_fraction=0.2, randaugment=True)
    rng = np.random.default_rng(0)
    images = (rng.random((60, 16, 16, 3)) * 255).astype(np.uint8)

    def made(**change):
        return ImageData.from_arrays(images, np.arange(60) % 3, config=replace(config, **change))

    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    once = made().augment(x, seed=3)
    assert torch.equal(once, made().augment(x, seed=3))
    assert once.min() >= 0 and once.max() <= 1  # noqa: PT018
    assert not torch.equal(once, x)
    assert not torch.equal(once, made(randaugment_operations=5).augment(x, seed=3))
    assert not torch.equal(once, made(randaugment_magnitude=25).augment(x, seed=3))
    assert made().changes
    assert not data.changes
    gray = made(channels=1).augment(x[:, :1], seed=3)
    assert gray.shape == (4, 1, 16, 16)
