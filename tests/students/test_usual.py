"""What a run takes where it names a student of words or a table and nothing else."""

import pytest
import torch

from stillhouse.core.types import Outputs, Progress
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.recipes import load_run
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.job import ClassificationJob, class_weights
from stillhouse.tasks.classification.plan import ClassificationRunConfig, ClassificationTrainingConfig
from stillhouse.tasks.classification.students.config import IMAGES
from stillhouse.tasks.classification.students.networks import ScorecardConfig

FILE = "data: {name: words, root: some.csv}\nteacher: {source: 'vectors:some.npy'}\nstudent: {kind: KIND}\n"


@pytest.mark.parametrize(("kind", "rate"), [("tf-idf", 3e-2), ("scorecard", 0.2), ("tree", 5e-2)])
def test_a_file_that_names_a_student_and_data_trains_as_is_usual_for_it(tmp_path, kind, rate):
    """At the defaults of networks (a rate of 2e-3) a scorecard learns next to nothing; what the file names stays."""
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.replace("KIND", kind) + "training: {epochs: 7}\n")
    found = load_run(str(path))
    assert (found.training.epochs, found.training.learning_rate) == (7, rate)
    assert found.signals[0].temperature.value == 1.0
    assert load_run(str(path), ["training.learning_rate=0.1"]).training.learning_rate == 0.1


def test_a_recipe_whose_student_becomes_one_of_words_keeps_only_what_was_named():
    """Settings that are still those of the recipe are made for another student."""
    words = ["data.name=words", "data.root=some.csv", "student.kind=scorecard", "arms=[kd,no-kd]"]
    found = load_run("digits", [*words, "training.epochs=3"])
    assert (found.training.epochs, found.training.learning_rate) == (
        3,
        ScorecardConfig.usual["training"]["learning_rate"],
    )
    assert found.training.batch_size == load_run("digits").training.batch_size


@pytest.mark.parametrize("kind", ["flat-tm", "resnet-tm", "swin-tm", "unified-tm", "tsetlin-vit", "timm", "spiking"])
def test_a_student_of_images_trains_as_is_usual_for_it(tmp_path, kind):
    """At batches of 128 and one rate for all, five of ten kinds were behind logistic regression on a few hundred pictures."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {{name: digits}}\nstudent: {{kind: {kind}}}\ntraining: {{epochs: 7}}\n")
    found = load_run(str(path)).training
    assert (found.epochs, found.batch_size) == (7, IMAGES["training"]["batch_size"])
    assert load_run(str(path), ["training.batch_size=64"]).training.batch_size == 64
    assert (found.learning_rate < IMAGES["training"]["learning_rate"]) == (
        kind == "swin-tm"
    )  # which unlearns at that of the others
    if kind != "tsetlin-vit":  # the recipe's own
        other = load_run("mnist", [f"student.kind={kind}", "arms=[kd]"])
        assert other.training.learning_rate == found.learning_rate
        assert other.training.epochs == load_run("mnist").training.epochs  # which go with the size of the data


def test_the_control_learns_its_labels_with_a_whole_weight():
    """A tenth of the loss beside a penalty of the same size would be a weaker control, not one without a teacher."""
    for given, control in ((0.1, 1.0), (0.0, 1.0), (3.0, 3.0)):
        config = ClassificationRunConfig(training={"label_weight": given}, arms=("kd",))
        assert config.stages_of(True)[0].training.label_weight == given
        assert config.stages_of(False)[0].training.label_weight == control


def test_the_label_loss_is_of_labelled_rows():
    """By hand, over a batch of which some rows have no label."""
    data = DataConfig(name="digits", label_limit=60).build()
    job = ClassificationJob(torch.nn.Identity(), data, ClassificationTrainingConfig(batch_size=64), seed=0)
    batch = job.batch(job.order(0)[:64], Progress(0, 10))
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    there = batch.labels >= 0
    losses = label_cross_entropy(logits[there], batch.labels[there])
    _, found = job.task_terms(Outputs(logits), batch, Progress(0, 10), 1.0)["labels"]
    torch.testing.assert_close(found, losses.sum() / (64 * job.labelled))


def test_class_weights_make_every_class_count_alike():
    """Rows of a class times its weight: the same for all; a class without a row changes nothing."""
    labels = torch.tensor([0, 0, 0, 1, 3, 3, -1, -1])
    weights = class_weights(labels, 4, True)
    totals = [float(weights[n] * (labels == n).sum()) for n in (0, 1, 3)]
    assert totals == pytest.approx([2.0, 2.0, 2.0])
    assert class_weights(labels, 4, False) is None
    assert class_weights(torch.tensor([0, 0, 0, 1, 1, 1, 1]), 2, None) is None  # 4 rows to 3
    assert class_weights(torch.tensor([0, 0, 1, 1, 1]), 2, None) is not None


@pytest.mark.parametrize("balanced", [False, True])
def test_the_label_loss_weighs_rare_classes(balanced):
    """By hand, over a batch of which some rows have no label."""
    data = DataConfig(name="digits", label_limit=60).build()
    job = ClassificationJob(
        torch.nn.Identity(), data, ClassificationTrainingConfig(batch_size=64, balanced=balanced), seed=0
    )
    batch = job.batch(job.order(0)[:64], Progress(0, 10))
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    there = batch.labels >= 0
    losses = label_cross_entropy(logits[there], batch.labels[there])
    counts = torch.bincount(data.train.labels[data.train.labels >= 0], minlength=10)
    weights = (counts.sum() / (10 * counts))[batch.labels[there]] if balanced else 1.0
    _, found = job.task_terms(Outputs(logits), batch, Progress(0, 10), 1.0)["labels"]
    torch.testing.assert_close(found, (losses * weights).sum() / (64 * job.labelled))
