"""A linear classifier and the commonest class beside every student: on the same labels and rows, bounded, and in every run."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from stillhouse.core.callback import Callback
from stillhouse.core.experiment import run
from stillhouse.core.folder import RunFolder
from stillhouse.core.types import ImageSpec
from stillhouse.recipes import load_run
from stillhouse.tasks.classification import plain
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.data.rows import RowData
from stillhouse.tasks.classification.plan import LINEAR, MAJORITY, MOST_NUMBERS
from stillhouse.tasks.classification.predict import predict
from stillhouse.tasks.classification.task import TASK


def images(count, classes, side=8, sort=False, seed=0):
    """Noise in which one pixel of a row of pixels, by class, is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    labels = np.sort(labels) if sort else labels
    pixels = rng.integers(0, 120, (count, 1, side, side)).astype(np.uint8)
    pixels[np.arange(count), 0, 2, labels] = 255
    return ImageData.from_arrays(pixels, labels)


def accuracy(model, split):
    found = predict(model, split)
    assert np.allclose(found.sum(1), 1)
    return float((found.argmax(1) == split.labels.numpy()).mean())


def test_the_linear_classifier_is_logistic_regression_on_the_pixels():
    """Its probabilities, by scikit-learn alone on the same rows with the strength that its own validation split picks."""
    data = DataConfig(name="digits").build()
    rows = {name: getattr(data, name).batch(torch.arange(n)) for name, n in data.sizes.items()}
    x, y = {n: b.inputs.flatten(1).numpy() for n, b in rows.items()}, {n: b.labels.numpy() for n, b in rows.items()}
    mean = x["train"].mean(0)
    every = [
        LogisticRegression(C=c, max_iter=100, tol=1e-3).fit(x["train"] - mean, y["train"]) for c in plain.STRENGTHS
    ]
    scores = [found.score(x["validation"] - mean, y["validation"]) for found in every]
    expected = every[int(np.argmax(scores))].predict_proba(x["test"] - mean)
    assert predict(plain.linear(data), data.test) == pytest.approx(expected, abs=1e-3)
    assert (expected.argmax(1) == y["test"]).mean() > 0.95
    assert len(load_digits().target) == sum(data.sizes.values())


def test_the_commonest_class_has_the_shares_of_the_training_labels():
    """Its likelihood is the cross-entropy of two distributions in closed form."""
    data = images(400, 3)
    shares = np.bincount(data.train.labels, minlength=3) / len(data.train)
    test = np.bincount(data.test.labels, minlength=3) / len(data.test)
    found = predict(plain.class_prior(data), data.test)
    assert found == pytest.approx(np.tile(shares, (len(data.test), 1)), abs=1e-6)
    nll = -np.log(found[np.arange(len(found)), data.test.labels]).mean()
    assert nll == pytest.approx(-(test * np.log(shares)).sum(), abs=1e-6)
    assert accuracy(plain.class_prior(data), data.test) == pytest.approx(test[shares.argmax()])


def test_what_it_reads_is_bounded(monkeypatch):
    """224 x 224 pixels in color of a million images would take hours beside a student of minutes."""
    input_spec = ImageSpec(("a", "b"), (3, 224, 224), (0.0,) * 3, (1.0,) * 3)
    assert 900 < plain.linear_features(torch.rand(2, 3, 224, 224), input_spec).shape[1] <= MOST_NUMBERS
    assert plain.linear_features(torch.rand(2, 1, 28, 28), ImageSpec(("a",), (1, 28, 28), (0.0,), (1.0,))).shape == (
        2,
        784,
    )
    seen = []
    monkeypatch.setattr(plain, "MOST_ROWS", 60)
    data = images(2000, 6, sort=True)  # class by class, as folders are
    real = plain.linear_features
    monkeypatch.setattr(
        plain, "linear_features", lambda inputs, input_spec: seen.append(len(inputs)) or real(inputs, input_spec)
    )
    model = plain.linear(data)
    assert sum(seen) == 120  # of the training and the validation rows
    assert accuracy(model, data.test) > 0.8  # first rows would be of one class


def test_texts_are_read_as_counts_of_tokens():
    """One word decides: a bag of words finds it wherever it stands, whatever is beside it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    words = [f"{' '.join(map(str, rng.integers(10, 60, 9)))} {7 + label}" for label in labels]
    split = [(words[a:b], labels[a:b].tolist()) for a, b in ((0, 400), (400, 500), (500, 600))]
    data = RowData.from_texts(
        split, lambda text: [int(word) for word in text.split()], class_names=["a", "b"], vocabulary=64
    )
    assert accuracy(plain.linear(data), data.test) == 1.0
    assert (
        plain.linear_features(data.test.ids, data.input_spec).sum(1) == 10
    ).all()  # ten tokens each, and nothing of the padding


def test_what_a_student_must_be_above_is_said_before_it_is_trained(tmp_path, monkeypatch):
    """After an hour of training it is too late to learn that a second of logistic regression was better."""
    data, said = images(300, 4), []
    words = ["teacher=null", "signals=[]", "arms=[no-kd]", "training.epochs=1", "seeds=1"]
    config = load_run("digits-timm", words)
    monkeypatch.setattr(type(config.student), "behind", {"pictures": "was far behind it"}, raising=False)
    watch = Callback()
    watch.log = said.append
    watch.on_progress = lambda *news: said.append("training")
    run(TASK, config, tmp_path / "run", data=data, callback=watch)
    line = next(line for line in said if line.startswith("logistic regression: "))
    score = 100 * accuracy(plain.linear(data), data.validation)
    assert line.startswith(f"logistic regression: {score:.1f}% of {len(data.validation)} validation rows, in ")
    assert line.endswith(" s; on other pictures timm was far behind it")
    assert said.index(line) < said.index("training")


def test_every_run_with_classes_has_both_as_rows(tmp_path):
    """With a value of each test item, which comparisons are drawn from; a student below them is said to be."""
    data = images(600, 4)
    config = load_run(
        "digits-timm",
        ["teacher=null", "signals=[]", "arms=[no-kd]", "training.epochs=1", "seeds=1", "training.learning_rate=1e-5"],
    )
    summary = run(TASK, config, tmp_path / "run", data=data)
    folder = RunFolder(tmp_path / "run")
    for name, model in ((LINEAR, plain.linear(data)), (MAJORITY, plain.class_prior(data))):
        right = predict(model, data.test).argmax(1) == data.test.labels.numpy()
        assert (folder.scores(name, 0)["accuracy"] == right).all()
        assert summary["arms"][name]["accuracy"]["mean"] == pytest.approx(right.mean())
    rows = {row["control"]: row for row in summary["comparisons"]}
    assert rows[LINEAR]["items"] == len(data.test)
    page = (tmp_path / "run" / "report.html").read_text()
    head = page.partition("<h1>")[2].partition("</h1>")[0]
    assert "is worse than a linear classifier (" in head
    assert "logistic regression on pixels (averages, of more than 1,024), fitted on the labels of at most 5,000" in page
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "arms" / LINEAR).rglob("*") if p.is_file()}
    run(TASK, config, tmp_path / "run", data=data, resume=True)
    assert {p: p.stat().st_mtime_ns for p in made} == made  # and is not fitted again
