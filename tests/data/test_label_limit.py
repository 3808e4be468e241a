"""Few labels: which rows have one is drawn for each seed, no other label is read, and labels act on labelled rows alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.experiment import run
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.recipes import load
from stillhouse.signals import LogitsConfig, build_signals
from stillhouse.tasks.classification import teachers
from stillhouse.tasks.classification.data import split
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData, ImageSplit
from stillhouse.tasks.classification.data.split import Hidden, count_split_rows, drawn, limit_labels
from stillhouse.tasks.classification.job import ClassificationJob, mixed_order, num_labelled_rows
from stillhouse.tasks.classification.plan import ClassificationTrainingConfig
from stillhouse.training.distillation import SignalSet
from stillhouse.training.loop import fit


def fit_classifier(model, data, config, *, seed=0, signal_set=None, **more):
    """`fit` of a `ClassificationJob`."""
    return fit(ClassificationJob(model, data, config, seed=seed, signal_set=signal_set), config, seed=seed, **more)


QUICK = ClassificationTrainingConfig(epochs=3, batch_size=16, device="cpu", threads=1, log_every=1)
TINY = ["data.label_limit=60", "student.kind=flat-tm", "training.epochs=1", "training.threads=1", "training.device=cpu"]


def sorted_data(limit=40, **changes):
    """Rows of class 0 first, of which there are most."""
    labels = np.repeat([0, 1, 2], [120, 60, 20])
    pixels = np.random.default_rng(0).integers(0, 255, (200, 4, 4), dtype=np.uint8)
    config = DataConfig(label_limit=limit, test_fraction=0.2, **changes)
    return ImageData.from_arrays(pixels, labels, config=config)


def shown(data):
    return data.train.labels[data.train.labels >= 0]


def test_classes_have_their_share_of_sorted_rows():
    """160 training rows and 16 for validation before; 60, 30 and 10 per cent of 36 labels, one row up or down."""
    data = sorted_data()
    assert data.sizes == {"train": 144, "validation": 4, "test": 40}
    assert (torch.bincount(shown(data)) - torch.tensor([21.6, 10.8, 3.6])).abs().max() <= 1
    assert count_split_rows(data).startswith(
        "144 train (36 labelled, drawn anew for each seed), 4 validation (labelled"
    )


def test_two_seeds_draw_other_labels_and_one_draws_the_same_again():
    data = sorted_data()
    first, second = drawn(data, 0), drawn(data, 1)
    assert torch.equal(first.train.labels, data.train.labels)
    assert torch.equal(drawn(second, 0).train.labels, data.train.labels)
    assert not torch.equal(second.train.labels, data.train.labels)
    assert torch.equal(first.train.images, second.train.images)
    assert first.sha256 == second.sha256 == sorted_data(limit=None).sha256


def test_a_limit_above_all_labels_changes_nothing():
    whole = sorted_data(limit=None)
    for limit in (160, 10_000):
        assert torch.equal(sorted_data(limit=limit).train.labels, whole.train.labels)
        assert sorted_data(limit=limit).hidden is None


def test_every_class_has_a_labelled_row_or_the_limit_is_refused():
    assert set(shown(sorted_data(limit=4)).tolist()) == {0, 1, 2}
    with pytest.raises(
        InputError, match=r"^data.label_limit: expected at least 4 \(one for each of 3 classes, and 1 for"
    ):
        sorted_data(limit=3)


# ---------------------------------------------------------------------------------------------- no hidden label is read


def test_labels_that_are_hidden_change_nothing(tmp_path, monkeypatch):
    """The same rows are drawn; all hidden labels are wrong: students, controls, plain models are equal to the bit."""
    found = []
    fixed = {}

    def same_rows(rows, count, *, labels=None, seed=0):
        key = (rows, count, seed)
        return fixed.setdefault(key, true_sample(rows, count, labels=labels, seed=seed))

    true_sample = split.sample_rows
    monkeypatch.setattr(split, "sample_rows", same_rows)
    task, config = load("digits", [*TINY, "seeds=2"])
    for spoilt in (False, True):
        data = config.data.build()
        if spoilt:
            kept = [drawn(data, seed).train.labels >= 0 for seed in range(2)]
            rest = ~(kept[0] | kept[1])
            assert rest.any()
            labels = torch.where(rest, (data.hidden.train.labels + 3) % 10, data.hidden.train.labels)
            train = ImageSplit(data.hidden.train.images, labels, data.hidden.train.numbers)
            hidden = Hidden(
                train, data.hidden.validation, data.hidden.training, data.hidden.validating, data.hidden.seed
            )
            data = drawn(ImageData(**{**vars(data), "hidden": hidden}), 0)
        run(task, config, tmp_path / str(spoilt), data=data)
        folder = tmp_path / str(spoilt) / "arms"
        found.append({x.relative_to(folder): x.read_bytes() for x in sorted(folder.glob("*/*/*.npz"))})
        found[-1] |= {x.relative_to(folder): x.read_bytes() for x in sorted(folder.glob("*/*/student.safetensors"))}
    assert {path.parts[0] for path in found[0]} == {"kd", "no-kd", "self-trained", "clauses-off", "linear", "majority"}
    assert found[0] == found[1]


def test_a_new_head_is_fitted_to_the_labels_of_its_seed(monkeypatch):
    """A head fitted once would carry the labels of seed 0 into all others."""
    seen = []
    monkeypatch.setattr(teachers, "fit_head", lambda teacher, batches: seen.extend(batches))
    monkeypatch.setattr(teachers, "stage_teachers_of", lambda *given: [])
    data = sorted_data()
    context = SimpleNamespace(
        data=data, teachers=[SimpleNamespace(head_was_fitted=True)], config=SimpleNamespace(training=QUICK)
    )
    monkeypatch.setattr(teachers, "replace", lambda context, **changes: SimpleNamespace(**changes))
    context.shared, context.given, context.stage_teachers = {}, None, []
    assert not torch.equal(teachers.context_of_seed(context, 1).data.train.labels, data.train.labels)
    labels = torch.cat([batch.labels for batch in seen])
    assert len(labels) == 36
    assert (labels >= 0).all()


# ---------------------------------------------------------------------------------------------- labels on labelled rows


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def agreeing():
    """A teacher without labels."""

    def teacher(batch):
        return Outputs(batch.inputs.flatten(1)[:, :3])

    return SignalSet(teacher, build_signals((LogitsConfig(),), OutputSpec(3), OutputSpec(3)))


def test_the_label_loss_is_the_mean_over_labelled_rows():
    """By torch, over a whole batch of as many labelled rows as there should be; and in halves that have other numbers of them."""
    data = sorted_data()
    job = ClassificationJob(net(), data, QUICK, seed=0, signal_set=agreeing())
    job.labelled = 0.5
    labels = torch.tensor([0, 1, 2, -1, -1, -1, -1, 1])
    batch = Batch(torch.rand(8, 1, 4, 4), labels, torch.arange(8))
    outputs, progress = job.outputs(batch), Progress(0, 10)
    expected = nn.functional.cross_entropy(outputs.logits, labels, ignore_index=-1)
    torch.testing.assert_close(job.task_terms(outputs, batch, progress, 1.0)["labels"][1], expected)
    parts = [slice(0, 4), slice(4, 8)]
    each = [
        job.task_terms(Outputs(outputs.logits[x]), Batch(batch.inputs[x], labels[x], batch.index[x]), progress, 1.0)
        for x in parts
    ]
    torch.testing.assert_close(sum(one["labels"][1] for one in each) / 2, expected)


def test_each_batch_has_its_share_of_labelled_rows_and_rows_come_in_turns():
    labels = torch.full((100,), -1)
    labels[:7] = 0
    assert num_labelled_rows(labels, 16, 0.25) == 4
    assert [num_labelled_rows(labels, 16, share) for share in (0.0, 0.05, 1.0)] == [0, 0, 7]
    assert num_labelled_rows(torch.zeros(5, dtype=torch.int64), 16, 0.5) == 0
    orders = torch.cat([mixed_order(labels, 16, 4, seed=3, epoch=epoch) for epoch in range(8)])
    assert all(int((labels[part] >= 0).sum()) == 4 for part in orders.split(16))
    times = torch.bincount(orders, minlength=100)
    assert times[:7].max() - times[:7].min() <= 1
    assert times[7:].max() - times[7:].min() <= 1


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
    """In the middle of an epoch, to the bit."""

    def trained(folder, *, resume=False, stop=None):
        def on_progress(progress, news):
            if progress.step == stop:
                raise KeyboardInterrupt

        model = net()
        config = ClassificationTrainingConfig(**{**vars(QUICK), "checkpoint_seconds": 0.0})
        settings = {"seed": 0, "folder": folder, "signal_set": agreeing(), "resume": resume, "on_progress": on_progress}
        fit_classifier(model, sorted_data(), config, **settings)
        return torch.cat([x.flatten() for x in model.state_dict().values()])

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", stop=14)
    assert torch.equal(trained(tmp_path / "cut", resume=True), whole)


def test_the_self_trained_arm_needs_rows_without_a_label(tmp_path):
    task, config = load("digits", [*TINY, "data.label_limit=null", "arms=[no-kd, self-trained]"])
    with pytest.raises(InputError, match="every training row has one"):
        run(task, config, tmp_path / "run")


def test_limited_data_without_a_limit_are_the_data():
    data = sorted_data(limit=None)
    assert limit_labels(data, None, 0.1, 0) is drawn(data, 5) is data
