"""Teachers that know rows by their number: whose answer is which, and which labels they were fitted to."""

import csv
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.core.records import TEACHER, read_json
from stillhouse.core.types import Batch
from stillhouse.recipes import load
from stillhouse.tasks.classification.data.config import WordDataConfig
from stillhouse.tasks.classification.data.split import drawn
from stillhouse.tasks.classification.row_teachers import fitted_to, on_rows, row_teacher
from stillhouse.tasks.classification.teachers import context_of_seed, teacher_check
from stillhouse.teachers.by_row import FittedTeacher, RowTeacher, logistic_head, out_of_fold
from stillhouse.teachers.check import check_teacher
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.ensemble import EnsembleTeacher

COUNT, CLASSES = 120, 3


def words_file(folder, labels, name="rows.csv"):
    """A file of texts, a row a label; the words say nothing of it."""
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *((f"some words {n % 7} here", label) for n, label in enumerate(labels))])
    return str(path)


def vectors_of(labels, folder, name="vectors.npy", width=6, noise=0.1):
    """Vectors from which a linear head reads the class."""
    rng = np.random.default_rng(0)
    found = np.eye(width)[np.asarray(labels)] + noise * rng.normal(size=(len(labels), width))
    np.save(folder / name, found)
    return str(folder / name)


def made(folder, labels, **data):
    """Data in the order of their classes, and a teacher of their vectors."""
    config = WordDataConfig(root=words_file(folder, [f"c{label}" for label in labels]), min_texts=1, **data)
    return config.build(), TeacherConfig(source=f"vectors:{vectors_of(labels, folder)}")


def right(teacher, split):
    batch = split.batch(torch.arange(len(split)))
    return float((teacher(batch).logits.argmax(1) == batch.labels).float().mean())


def test_every_split_of_a_sorted_file_finds_its_vectors(tmp_path):
    labels = np.sort(np.arange(COUNT) % CLASSES)
    data, source = made(tmp_path, labels)
    teacher = row_teacher(source, data, whole=True)
    assert [right(teacher, split) for split in (data.train, data.validation, data.test)] == [1.0, 1.0, 1.0]


def test_vectors_of_a_test_file_come_after_those_of_the_file(tmp_path):
    labels, tested = np.sort(np.arange(COUNT) % CLASSES), np.array([2, 1, 0, 0, 2, 1, 1])
    root, test = (
        words_file(tmp_path, [f"c{label}" for label in some], name)
        for some, name in ((labels, "rows.csv"), (tested, "test.csv"))
    )
    data = WordDataConfig(root=root, test=test, min_texts=1).build()
    first, second = (np.eye(6)[some] for some in (labels, tested))
    np.savez(tmp_path / "both.npz", train=first, test=second)
    np.save(tmp_path / "one.npy", first)
    teacher = row_teacher(TeacherConfig(source=f"vectors:{tmp_path}/both.npz"), data, whole=True)
    assert right(teacher, data.test) == 1.0
    assert teacher.covers(data.test.numbers)
    without = row_teacher(TeacherConfig(source=f"vectors:{tmp_path}/one.npy"), data, whole=True)
    assert right(without, data.validation) == 1.0
    assert not without.covers(data.test.numbers)


def test_a_labelled_row_is_answered_by_a_fit_without_it():
    """Labels that are drawn can be learned by heart from 60 numbers a row, and never be known beforehand."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(80, 60)).astype(np.float32), rng.integers(0, 2, 80)
    teacher = FittedTeacher("drawn", x, 2, lambda *a: _sure(), "").fitted(np.arange(40), labels[:40])
    answered = teacher.answers.argmax(1).numpy()
    assert (answered[:40] == labels[:40]).mean() < 0.75
    whole = _sure().fit(x[:40], labels[:40])
    assert (whole.predict(x[:40]) == labels[:40]).all()
    np.testing.assert_allclose(teacher.answers[40:].exp().numpy(), whole.predict_proba(x[40:]), atol=2e-5)


def _sure():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=100.0, max_iter=1000)


def test_a_class_with_one_labelled_row_and_unequal_classes_are_known():
    labels = np.array([0] * 30 + [1] * 6 + [2])
    x = (np.eye(3)[labels] + 0.05 * np.random.default_rng(1).normal(size=(37, 3))).astype(np.float32)
    found = FittedTeacher("rare", x, 4, logistic_head, "").fitted(np.arange(37), labels)
    assert (found.answers.argmax(1).numpy() == labels).all()
    assert bool(torch.isfinite(found.answers).all())  # also of the class that no row has
    assert "balanced" in found.about
    assert "balanced" not in FittedTeacher("equal", x, 3, logistic_head, "").fitted([0, 1, 30, 31], [0, 0, 1, 1]).about


def test_the_head_is_as_strong_as_rows_that_it_has_not_seen_want():
    """Of vectors that are all noise the weakest head is the likeliest, of clean ones a strong one."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    noise = logistic_head(rng.normal(size=(60, 50)), labels, 2)
    clean = logistic_head(np.eye(2)[labels], labels, 2)
    strength = [getattr(head, "steps", [(0, head)])[-1][1].C for head in (noise, clean)]
    assert strength[0] <= 0.1 < 100 <= strength[1]


@pytest.mark.parametrize("several", [False, True])
def test_each_seed_fits_to_its_own_labels_alone(tmp_path, several):
    """The answers are those of data that have no other label behind them; another seed has another teacher."""
    data, source = made(tmp_path, np.sort(np.arange(COUNT) % CLASSES), label_limit=20)
    teacher = row_teacher(source, data, whole=True)
    context, answers = _context(data, EnsembleTeacher([teacher, teacher]) if several else teacher), []
    for seed in (1, 2):
        found = context_of_seed(context, seed).teachers[0]
        answers.append((found.members[0] if several else found).answers)
        shown = replace(drawn(data, seed), hidden=None)
        assert (shown.train.labels != MISSING).sum() == 18
        assert torch.equal(answers[-1], fitted_to(teacher, shown).answers)
    assert not torch.equal(*answers)


@dataclass
class Context:
    """What is read of a run."""

    config: object
    data: object
    teachers: list
    stage_teachers: list
    given: object = None
    shared: dict = field(default_factory=dict)


def _context(data, teacher):
    training = SimpleNamespace(evaluation_batch_size=50, mixing=SimpleNamespace(on=False), teacher_view="same")
    config = SimpleNamespace(training=training, stages_of=lambda taught: (), teacher=None)
    return Context(config, data, [teacher], [])


def test_a_teacher_of_vectors_is_checked_on_rows_that_it_was_not_fitted_to(tmp_path):
    labels = np.sort(np.arange(COUNT) % CLASSES)
    data, source = made(tmp_path, labels, label_limit=40)
    found = teacher_check(row_teacher(source, data, whole=True), load("banking")[1], data)
    assert (found.score, found.facts["head"], found.facts["rows"]) == (1.0, "fitted", 40)


def test_a_teacher_that_weighs_classes_is_checked_by_its_mean_recall(tmp_path):
    """A tenth of the rows is of the second class: half of both right is chance, though nobody is as often right as the prior."""
    x = np.zeros((100, 1), np.float32)
    labels = np.array([0] * 90 + [1] * 10)
    x[:72], x[90:98] = -1, 1  # 80 % of each class are told from the other
    x[72:90], x[98:] = 1, -1
    teacher = FittedTeacher("weighs", x, 2, logistic_head, "").fitted(np.arange(100), labels)
    assert teacher.balanced
    rows = torch.arange(100)
    batch = Batch(torch.zeros(100, 1), torch.tensor(labels), rows, rows=rows)
    found = check_teacher(teacher, [batch])
    assert found.score == pytest.approx(0.8)
    assert found.chance == 0.5
    assert found.status == "ready"
    middles = (73 / 92, 9 / 12)
    spread = sum(p * (1 - p) / n for p, n in zip(middles, (92, 12))) / 4
    assert found.low == pytest.approx(sum(middles) / 2 - 1.959964 * spread**0.5)
    teacher.balanced = False
    assert (check_teacher(teacher, [batch]).chance, check_teacher(teacher, [batch]).status) == (0.9, "at chance")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: x[:-1], r"expected a row for each row of the data \(120\), in their order, got 119"),
        (lambda x: np.concatenate([x, x]), "got 240"),
        (
            lambda x: np.where(np.arange(len(x))[:, None] == 7, np.nan, x),
            "contains NaN",
        ),
        (lambda x: x[:, 0], r"expected numbers \(rows, width\)"),
        (lambda x: x.astype(str), r"expected numbers \(rows, width\)"),
    ],
)
def test_a_file_of_other_rows_is_refused(tmp_path, spoil, says):
    labels = np.arange(COUNT) % CLASSES
    data, source = made(tmp_path, labels)
    path = tmp_path / "vectors.npy"
    np.save(path, spoil(np.load(path)))
    with pytest.raises(InputError, match=says):
        row_teacher(source, data, whole=True)


def test_a_file_that_is_none_is_named(tmp_path):
    data, _ = made(tmp_path, np.arange(COUNT) % CLASSES)
    (tmp_path / "text.npy").write_text("no vectors")
    np.savez(tmp_path / "other.npz", test=np.zeros((2, 2)))
    for name, says in (("none.npy", "No such file"), ("text.npy", "cannot be read"), ("other.npz", "an array 'train'")):
        with pytest.raises(InputError, match=says):
            row_teacher(TeacherConfig(source=f"vectors:{tmp_path / name}"), data, whole=True)


def test_rows_without_an_answer_or_a_number_and_mixed_images_are_refused():
    teacher = RowTeacher("given", np.array([[0.5, 0.5], [np.nan, np.nan]]))

    def batch(**parts):
        return Batch(torch.zeros(1, 1), torch.zeros(1).long(), torch.zeros(1).long(), **parts)

    for parts, says in (
        ({"rows": torch.tensor([1])}, "no answer for row 1"),
        ({"rows": torch.tensor([2])}, "no answer for row 2"),
        ({}, "these data have none"),
        ({"rows": torch.tensor([0]), "soft_labels": torch.ones(1, 2)}, "training.mixing"),
    ):
        with pytest.raises(InputError, match=says):
            teacher(batch(**parts))
    for bad in ([[1.0, -1.0]], [[0.0, 0.0]], [[np.inf, 1.0]]):
        with pytest.raises(InputError, match="expected probabilities"):
            RowTeacher("given", np.array(bad))


def test_one_labelled_class_is_no_teacher():
    teacher = FittedTeacher("one", np.zeros((9, 2), np.float32), 2, logistic_head, "")
    with pytest.raises(InputError, match="at least 2 classes"):
        teacher.fitted([0, 1], [1, 1])


def test_held_out_answers_are_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    expected = cross_val_predict(LogisticRegression(), x, labels, cv=folds, method="predict_proba")
    np.testing.assert_allclose(out_of_fold(LogisticRegression(), x, labels, 3), expected, atol=1e-5)


def test_images_have_rows_too(tmp_path):
    """A whole run of digits with stored vectors, with changes of images at every step: the answer stays that of the row."""
    from sklearn.datasets import load_digits

    from stillhouse.core.experiment import run

    np.save(tmp_path / "pixels.npy", load_digits().data)
    changes = [
        "training.epochs=1", "seeds=1", "arms=[kd, no-kd]", "data.label_limit=100", "data.augment=shift",
        "data.test_limit=100", f"teacher.source=vectors:{tmp_path}/pixels.npy", "student={kind: flat-tm, clauses: 20}",
    ]  # fmt: skip
    task, config = load("digits", changes)
    run(task, config, tmp_path / "run")
    assert read_json(tmp_path / "run" / TEACHER)["test"]["accuracy"] > 0.75


def test_a_teacher_is_known_by_what_it_is_fitted_to(tmp_path):
    data, source = made(tmp_path, np.arange(COUNT) % CLASSES)
    fitted = row_teacher(source, data, whole=True)
    assert fitted.head_was_fitted
    assert fitted.built_as == row_teacher(source, data, whole=True).built_as != fitted.identity()
    assert check_teacher(fitted, data.validation.batches(9)).score == 1.0


# ---------------------------------------------------------------------------------------------- answers that were given


def given(folder, rows, name="answers.csv"):
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return TeacherConfig(source=f"predictions:{folder / name}")


def test_predictions_are_read_by_class_and_by_row(tmp_path):
    """Columns in any order, rows in the order of the file or by their number, names alone, arrays: the same answers."""
    labels = np.sort(np.arange(COUNT) % CLASSES)
    data, _ = made(tmp_path, labels)
    shares = [{f"c{k}": 0.8 if k == label else 0.1 for k in (2, 0, 1)} for label in labels]
    shuffled = np.random.default_rng(0).permutation(COUNT)
    names = [f"c{label}" for label in labels]
    np.save(tmp_path / "shares.npy", np.array([[row[f"c{k}"] for k in range(3)] for row in shares]))
    np.save(tmp_path / "names.npy", np.array(names))
    sources = [
        given(tmp_path, shares),
        given(tmp_path, [{"row": n, **shares[n]} for n in shuffled], "numbered.csv"),
        given(tmp_path, [{"text": "x", "label": name} for name in names], "names.csv"),
        *(TeacherConfig(source=f"predictions:{tmp_path}/{name}.npy") for name in ("shares", "names")),
    ]
    for place, source in enumerate(sources):
        teacher = row_teacher(source, data, whole=True)
        assert [right(teacher, split) for split in (data.train, data.validation, data.test)] == [1.0, 1.0, 1.0]
        assert not teacher.head_was_fitted  # nothing of it is fitted anew for a seed
        if place in (0, 1, 3):
            np.testing.assert_allclose(teacher.answers[0].exp().numpy(), [0.8, 0.1, 0.1], atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows[:-1], r"expected a row for each row of the data \(120\)"),
        (
            lambda rows: [{"row": n, **row} for n, row in enumerate(rows) if n > 2],
            r"no answer for .* \(first: row [012], from 0",
        ),
        (lambda rows: [{"row": 0, **row} for row in rows], "expected each number once"),
        (lambda rows: [{"row": 500, **row} for row in rows], "from 0 to 119"),
        (lambda rows: [{"label": "cat"} for _ in rows], "'cat' is no class of the data"),
        (lambda rows: [{"label": "" if n > 3 else "c0"} for n, _ in enumerate(rows)], "no answer for"),
        (lambda rows: [{"c0": 1, "c1": 0, "c_2": 0} for _ in rows], "'c2': did you mean 'c_2'"),
        (lambda rows: [{"c0": "much", "c1": 0, "c2": 0} for _ in rows], "could not convert string to float: 'much'"),
        (lambda rows: [{"c0": -3, "c1": 0, "c2": 2} for _ in rows], "take the softmax first"),
    ],
)
def test_predictions_that_lack_something_are_refused(tmp_path, spoil, says):
    data, _ = made(tmp_path, np.arange(COUNT) % CLASSES)
    rows = [{f"c{k}": 1 / 3 for k in range(3)} for _ in range(COUNT)]
    with pytest.raises(InputError, match=says):
        row_teacher(given(tmp_path, spoil(rows)), data, whole=True)


# ---------------------------------------------------------------------------------------------- scikit-learn


def table_file(folder, labels):
    """A category and a number with a hole decide the class together."""
    rng = np.random.default_rng(0)
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("age", "job", "label"))
        for label in labels:
            age = 30 + 20 * (label == 1) + rng.integers(5)
            writer.writerow(("" if rng.random() < 0.1 else age, "cook" if label == 2 else "clerk", f"c{label}"))
    return str(path)


@pytest.mark.parametrize(
    "name", ["GaussianNB", "HistGradientBoostingClassifier", "MLPClassifier", "RandomForestClassifier"]
)
def test_classifiers_of_scikit_learn_read_tables(tmp_path, name):
    from stillhouse.tasks.classification.data.config import TableDataConfig

    data = TableDataConfig(root=table_file(tmp_path, np.sort(np.arange(COUNT) % CLASSES)), label_limit=60).build()
    few = {"min_samples_leaf": 5} if "Hist" in name else {}  # its usual 20 rows are half a class here
    source = TeacherConfig(source=f"sklearn:{name}", arguments=few)
    teacher = row_teacher(source, data, whole=True)
    assert right(teacher, data.test) > 0.8
    assert teacher.identity() == row_teacher(source, data, whole=True).identity()
    assert teacher.built_as == row_teacher(source, data, whole=True).built_as


def test_only_classifiers_of_the_list_are_built(tmp_path):
    data, _ = made(tmp_path, np.arange(COUNT) % CLASSES)
    for name, arguments, says in (
        ("os.system", {}, "is not known"),
        ("LinearRegression", {}, "did you mean 'LogisticRegression'"),
        ("GaussianNB", {"depth": 3}, "unexpected keyword argument 'depth'"),
    ):
        with pytest.raises(InputError, match=says):
            row_teacher(TeacherConfig(source=f"sklearn:{name}", arguments=arguments), data, whole=True)


def test_an_estimator_that_was_fitted_answers_as_it_is(tmp_path):
    """Its classes are named in its own order; another one is fitted to the labelled rows of the data."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = np.arange(COUNT) % 2
    path = tmp_path / "told.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *((("good day", "bad day")[label], "ab"[label]) for label in labels)])
    data = WordDataConfig(root=str(path), min_texts=1).build()
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    teacher = on_rows("mine", reader, data)
    assert teacher.head_is_new
    assert right(fitted_to(teacher, data), data.test) == 1.0
    reader.fit(["good day", "bad day"] * 9, ["a", "b"] * 9)
    ready = on_rows("mine", reader, data)
    assert not ready.head_is_new
    assert right(ready, data.test) == 1.0
    assert "before the run" in ready.seen
    with pytest.raises(InputError, match="it was fitted to x, y"):
        on_rows("mine", reader.fit(["good", "bad"], ["x", "y"]), data)
    with pytest.raises(InputError, match="expected a classifier"):
        on_rows("mine", TfidfVectorizer(), data)


# ---------------------------------------------------------------------------------------------- sentence encoders


def test_texts_are_encoded_once(tmp_path, monkeypatch):
    """The second time vectors come from the cache; other texts and another model are encoded anew."""
    from stillhouse.teachers import encoder

    labels, calls = np.sort(np.arange(COUNT) % CLASSES), []
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    root = words_file(tmp_path, [f"c{label}" for label in labels])
    text = {f"some words {n % 7} here": n % 7 for n in range(7)}

    def encode(model, texts, first, how):
        calls.append(len(texts))
        return np.eye(7, dtype=np.float32)[[text[one] for one in texts]]

    monkeypatch.setattr(encoder, "model_folder", lambda model: model)
    monkeypatch.setattr(encoder, "model_sha256", lambda folder: f"sha of {folder}")
    monkeypatch.setattr(encoder, "load_encoder", lambda folder, device: folder)
    monkeypatch.setattr(encoder, "encode", encode)
    data = WordDataConfig(root=root, min_texts=1).build()
    for name, expected in (("one", 1), ("one", 1), ("two", 2)):
        teacher = row_teacher(TeacherConfig(source=f"encoder:{name}"), data, whole=True)
        assert len(calls) == expected
        assert teacher.inputs.argmax(1).tolist() == [n % 7 for n in range(COUNT)]
    (next((tmp_path / "cache").rglob("*.npy"))).write_bytes(b"damaged")
    row_teacher(TeacherConfig(source="encoder:one"), data, whole=True)
    row_teacher(TeacherConfig(source="encoder:two"), data, whole=True)
    assert len(calls) == 3
    images = load("digits")[1].data.build()
    with pytest.raises(InputError, match="reads texts, and these are images"):
        row_teacher(TeacherConfig(source="encoder:one"), images, whole=True)


def test_a_head_on_a_network_is_as_strong_as_its_rows_want():
    """Of features that are all noise the weakest head of the list is taken; a fixed one learns them by heart."""
    from stillhouse.core.types import ImageSpec
    from stillhouse.teachers.probe import fit_head
    from stillhouse.teachers.teacher import Teacher

    rng = torch.Generator().manual_seed(0)
    images, labels = torch.rand(60, 1, 8, 8, generator=rng), torch.randint(0, 2, (60,), generator=rng)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    teacher = Teacher.from_module(network, ImageSpec(("a", "b"), (1, 8, 8), (0.5,), (0.5,)))
    fit_head(teacher, [Batch(images, labels, torch.arange(60))])
    scores = teacher(Batch(images, labels, torch.arange(60))).logits
    assert float(scores.softmax(1).max()) < 0.6
