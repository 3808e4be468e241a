"""`stillhouse.distill`: what is given becomes the run of the command line; what comes back says what was found."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import stillhouse
from stillhouse.api import Result, flatten_settings
from stillhouse.core.checks import ConfigError, InputError
from stillhouse.given import data_of, teacher_of
from stillhouse.recipes import load_run

TOPICS = {"pin": "my pin code is wrong", "card": "the card did not arrive", "rate": "which exchange rate is used"}
QUICK = {"training__epochs": 2, "seeds": 1, "arms": ["kd", "no-kd"], "quiet": True}


def texts(count=90, labelled=60):
    """Messages of three topics in their order, the labels of some left out."""
    rng = np.random.default_rng(0)
    names = sorted(TOPICS)
    labels = [names[n * 3 // count] for n in range(count)]
    found = [f"{TOPICS[label]} {' '.join(rng.choice(['please', 'today', 'help', 'thanks'], 2))}" for label in labels]
    shown = set(rng.permutation(count)[:labelled].tolist())
    return found, labels, [label if n in shown else None for n, label in enumerate(labels)]


def digits(count=240):
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images / 16).astype(np.float32)[:count], found.target[:count]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A student of texts, taught by perfect answers."""
    inputs, labels, shown = texts()
    shares = np.eye(3)[[sorted(TOPICS).index(label) for label in labels]]
    out = tmp_path_factory.mktemp("runs") / "texts"
    more = {"training__learning_rate": 0.1, "training__epochs": 10, "data__test_fraction": 0.2, **{"seeds": 3}}
    return (
        stillhouse.distill(shares, "scorecard", (inputs, shown), out=out, arms=["kd", "no-kd"], **more),
        inputs,
        labels,
    )


def test_it_is_there_to_be_found():
    assert {"distill", "attach", "load", "RulesClassifier", "FiveNumbers"} <= set(dir(stillhouse))
    assert stillhouse.distill is stillhouse.distill  # a function, and no module of that name
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        stillhouse.distil  # noqa: B018


def test_digits_in_arrays(tmp_path):
    """The line of the front page; -1 hides a label, and a teacher that has seen it is named as a risk."""
    x, y = digits()
    shown = np.where(np.arange(240) % 2, y, -1)
    result = stillhouse.distill(
        "builtin:digits", {"kind": "flat-tm", "clauses": 20}, (x[:200], shown[:200]), test=(x[200:], y[200:]), **QUICK
    )
    assert result.student.predict(x[200:]).dtype.kind == "i"
    assert set(result.student.predict(x[200:]).tolist()) <= set(range(10))
    assert result.verdict.startswith("not tested (1 seed; a verdict needs 3): ")
    assert result.verdict.endswith("1 seed, 40 test images")
    assert any("risk: teacher builtin:digits was trained on the labels" in line for line in result.summary["hints"])
    assert "isk: teacher builtin:digits was trained" in result.report.read_text()
    folder = result.folder
    del result
    assert not folder.exists()  # a temporary run is gone with its result


def test_the_same_run_as_by_the_command_line(taught, tmp_path):
    """Its file and its command give the same student."""
    from stillhouse.cli.main import main

    result, inputs, _ = taught
    file = result.folder.with_name("texts-data") / "run.yaml"
    assert (
        json.loads((result.folder / "summary.json").read_text())["command"]
        == f"stillhouse distill {file} --out {result.folder}"
    )
    assert main(["distill", str(file), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    again = stillhouse.load(tmp_path / "again")
    np.testing.assert_allclose(
        [list(row["probabilities"].values()) for row in again.predict(inputs)],
        result.student.predict_proba(inputs),
        atol=1e-6,
    )


def test_a_result_says_what_was_found(taught):
    result, inputs, labels = taught
    row = result.summary["comparisons"][0]
    middle = f"{100 * row['difference']:+.1f} points ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}"
    assert result.verdict.endswith(f": {middle}, {seeds}, {row['items']} test texts")
    helped = {
        **row,
        "verdict": "helps",
        "difference": 0.123,
        "low": 0.0923,
        "high": 0.149,
        "seeds": 5,
        "items": 1480,
        "why": "",
    }
    said = Result(result.folder, {**result.summary, "comparisons": [helped]}, unit="texts").verdict
    assert said == "helps: +12.3 points (9.2 to 14.9), 5 seeds, 1,480 test texts"
    assert (result.student.predict(inputs) == np.array(labels)).mean() > 0.9
    assert result.student.predict("my pin code").tolist() == ["pin"]
    assert result.student.predict_proba([]).shape == (0, 3)
    arms = [line["arm"] for line in result.table]
    assert arms[:3] == ["teacher", "kd", "no-kd"]
    lines = str(result.table).splitlines()
    assert len(lines) == len(arms) + 1
    assert len({line.index(" to ") for line in lines[2:4]}) == 1
    assert result.report.is_file()
    assert str(result.report) in str(result)


def test_the_same_call_again_opens_the_run(taught):
    """Nothing is trained again; other data are refused."""
    result, inputs, labels = taught
    _, _, shown = texts()
    shares = np.eye(3)[[sorted(TOPICS).index(label) for label in labels]]
    more = {"training__learning_rate": 0.1, "training__epochs": 10, "data__test_fraction": 0.2, "seeds": 3}
    before = (result.folder / "summary.json").stat().st_mtime_ns
    again = stillhouse.distill(shares, "scorecard", (inputs, shown), out=result.folder, arms=["kd", "no-kd"], **more)
    assert again.verdict == result.verdict
    assert (result.folder / "summary.json").stat().st_mtime_ns == before
    assert isinstance(again, Result)


def test_settings_are_those_of_the_command_line():
    given = {
        "training__epochs": 5,
        "student": {"clauses": 3},
        "signals": [{"kind": "logits"}],
        "data": {"augment": "none"},
    }
    assert flatten_settings(given) == {
        "training.epochs": 5, "student.clauses": 3, "signals": [{"kind": "logits"}], "data.augment": "none",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"training\.epoch: "):
        stillhouse.distill(None, "flat-tm", digits(), training__epoch=5)


def test_columns_of_an_array_are_classes_by_size(tmp_path):
    """Of numbers 0 to 11 class 10 is the eleventh column, though '10' comes before '2' in the alphabet."""
    labels = np.arange(24) % 12
    data = data_of(([f"word{n}" for n in labels], labels), None, "words or a table", tmp_path)
    settings, living = teacher_of(np.eye(12)[labels], data, tmp_path)
    assert living is None
    stored = np.load(settings["source"].removeprefix("predictions:"))
    assert [data.classes[place] for place in stored.argmax(1)] == [str(n) for n in labels]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (lambda x: ([f"text {n}" for n in range(6)], [0, 1, 0, 1, -1, None]), "words"),
        (lambda x: (x.random((6, 3)), [0, 1, 0, 1, np.nan, -1]), "table"),
        (lambda x: (x.random((6, 4, 4)), np.array([0, 1, 0, 1, -1, -1])), "npz"),
        (lambda x: (torch.rand(6, 3, 4, 4), torch.tensor([0, 1, 0, 1, -1, -1])), "npz"),
    ],
)
def test_forms_of_data(tmp_path, form, expected):
    """Of every form four labels are there, and two are missing."""
    found = data_of(
        form(np.random.default_rng(0)), None, "images" if expected == "npz" else "words or a table", tmp_path
    )
    assert found.settings["name"] == expected
    assert found.labels == (0, 1)
    if expected == "npz":
        assert np.load(found.settings["root"])["labels"].tolist() == [0, 1, 0, 1, -1, -1]
    else:
        rows = [json.loads(line) for line in Path(found.settings["root"]).read_text().splitlines()]
        assert [row["label"] for row in rows] == ["0", "1", "0", "1", None, None]


def test_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.5, None, 3.0], "job": ["a", "b", "a"], "label": [0, 1, np.nan]})
    found = data_of(frame, None, "words or a table", tmp_path)
    rows = [json.loads(line) for line in Path(found.settings["root"]).read_text().splitlines()]
    assert rows[1] == {"age": None, "job": "b", "class": "1"} or rows[1] == {"age": None, "job": "b", "label": "1"}
    assert found.settings["name"] == "table"
    said = pandas.DataFrame({"text": ["good day", "bad day"], "label": ["a", "b"]})
    assert data_of(said, None, "words or a table", tmp_path / "t").settings["name"] == "words"
    with pytest.raises(InputError, match="expected a column 'label' of labels"):
        data_of(frame.drop(columns="label"), None, "words or a table", tmp_path)


def test_forms_of_teachers(tmp_path):
    data = data_of(digits(40), None, "images", tmp_path)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(10), 40)
    for given, kind in (
        (shares, "predictions"),
        (rng.normal(size=(40, 10)), "vectors"),
        (rng.random((40, 3)), "vectors"),
        (digits(40)[1], "predictions"),
        ("timm:resnet18", "timm"),
        (nn.Linear(2, 2), "given"),
    ):
        settings, _ = teacher_of(given, data, tmp_path)
        assert settings["source"].partition(":")[0] == kind
    assert teacher_of(None, data, tmp_path) == (None, None)


def test_functions_and_paths_teach(tmp_path):
    """A function is asked about the rows as they were given; of a path its kind is seen."""
    x, y = digits(40)
    data = data_of((x, y), (x[:5], y[:5]), "images", tmp_path)
    settings, living = teacher_of(lambda rows: np.asarray(rows).reshape(45, -1)[:, :9], data, tmp_path)
    assert (settings["source"].partition(":")[0], living) == ("vectors", None)
    assert np.array_equal(np.load(settings["source"].partition(":")[2])[40:], x[:5].reshape(5, -1)[:, :9])
    words = data_of((["a pin", "a card"], ["p", "c"]), None, "words or a table", tmp_path)
    answers = teacher_of(
        lambda rows: [[float(word in row) for word in ("card", "pin")] for row in rows], words, tmp_path
    )[0]
    assert np.load(answers["source"].removeprefix("predictions:")).tolist() == [[0, 1], [1, 0]]  # columns: "c", "p"
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(45, 12)))
    np.save(tmp_path / "shares.npy", np.eye(10)[[*y, *y[:5]]])
    kinds = {
        "vectors.npy": "vectors",
        "shares.npy": "predictions",
        "answers.csv": "predictions",
        "net.pt": "ckpt",
        "run": "run",
    }
    (tmp_path / "run").mkdir()
    for name, kind in kinds.items():
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
        assert teacher_of(tmp_path / name, data, tmp_path)[0]["source"] == f"{kind}:{tmp_path / name}"
    with pytest.raises(InputError, match="these are files"):
        stillhouse.distill(len, "scorecard", "builtin:banking")


def test_modules_and_estimators_teach(tmp_path):
    """A module that knows the answer, and an estimator that is fitted to each seed's labels."""
    from sklearn.linear_model import LogisticRegression

    x, y = digits()
    weights = LogisticRegression(max_iter=500).fit(x.reshape(len(x), -1), y)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module[1].weight.data, module[1].bias.data = (
        torch.tensor(weights.coef_).float(),
        torch.tensor(weights.intercept_).float(),
    )
    student = {"kind": "flat-tm", "clauses": 20}
    by_module = stillhouse.distill(module, student, (x, y), **QUICK)
    assert by_module.table[0]["arm"] == "teacher"
    assert by_module.table[0]["accuracy"] > 95
    by_estimator = stillhouse.distill(LogisticRegression(max_iter=500), student, (x, y), data__label_limit=100, **QUICK)
    assert 70 < by_estimator.table[0]["accuracy"] < 95
    config = load_run("digits", ["teacher.source=given:Sequential"])
    with pytest.raises(InputError, match=r"was given to [a-z.]* in Python"):
        config.teacher.build(config.data.build().input_spec)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, y: ("builtin:digits", "flat", (x, y)), "no student is a 'flat'"),
        (lambda x, y: ("builtin:digits", 3, (x, y)), "expected a kind or a mapping"),
        (lambda x, y: ("builtin:digits", "flat-tm", x), "expected a path, a frame or"),
        (lambda x, y: ("builtin:digits", "flat-tm", (x, y[:-1])), "expected a label for each of 240 rows"),
        (lambda x, y: ("builtin:digits", "flat-tm", "no/file.csv"), "expected a file, a folder or a data set"),
        (lambda x, y: (np.zeros((3, 2, 2)), "flat-tm", (x, y)), "expected a source, a path, a function, probabilities"),
        (lambda x, y: (np.eye(10)[y][:-1], "flat-tm", (x, y)), "expected a row for each row of the data"),
        (lambda x, y: ("builtin:digits", "scorecard", (x, y)), "reads words or a table"),
        (lambda x, y: ("builtin:digits", "scorecard", ([1, "a"], [0, 1])), "got int in row 0"),
    ],
)
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(InputError, match=says):
        stillhouse.distill(*call(*digits()), seeds=1)


def test_a_classifier_of_scikit_learn():
    """-1 hides a label; parameters, clones and scores are scikit-learn's."""
    from sklearn.base import clone, is_classifier

    inputs, labels, shown = texts()
    shares = np.eye(3)[[sorted(TOPICS).index(label) for label in labels]]
    model = stillhouse.RulesClassifier(
        shares, student="scorecard", settings={"training.epochs": 10, "training.learning_rate": 0.1}
    )
    assert is_classifier(model)
    assert clone(model).get_params()["student"] == "scorecard"
    assert model.fit(inputs, shown) is model
    assert model.classes_.tolist() == sorted(TOPICS)
    assert model.score(inputs, labels) > 0.9
    assert model.predict_proba(inputs[:2]).shape == (2, 3)
    numbers = np.random.default_rng(0).normal(size=(80, 3))
    wanted = (numbers[:, 0] > 0).astype(int) + 5
    table = stillhouse.RulesClassifier(
        None, student="scorecard", settings={"training.epochs": 20, "training.learning_rate": 0.1}
    )
    table.fit(numbers, np.where(np.arange(80) % 4, wanted, -1))
    assert table.classes_.tolist() == [5, 6]
    assert table.n_features_in_ == 3
    assert table.score(numbers, wanted) > 0.85
    with pytest.raises(InputError, match="at least 2 classes"):
        model.fit(inputs, [labels[0]] * len(inputs))


@pytest.mark.slow
def test_scikit_learns_own_checks_pass():
    """A pipeline, a grid search or NaN met an estimator that only looked like one."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.estimator_checks import check_estimator

    model = stillhouse.RulesClassifier(LogisticRegression(), student="scorecard", settings={"training.epochs": 10})
    refused = {
        "check_classifiers_classes": "-1 is one of its classes; here it is no label",
        "check_estimators_nan_inf": "no number of its ten rows is a threshold that enough of them pass",
        "check_fit2d_1feature": "no number of its ten rows is a threshold that enough of them pass",
    }
    found = check_estimator(model, expected_failed_checks=refused, on_skip=None)
    assert sum(check["status"] == "passed" for check in found) > 45


def test_numbers_are_checked_as_scikit_learn_does():
    """NaN was a value like any, and a row of another length was read as far as it went."""
    numbers = np.random.default_rng(0).normal(size=(60, 3))
    model = stillhouse.RulesClassifier(student="scorecard", settings={"training.epochs": 2})
    model.fit(numbers, numbers[:, 0] > 0)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(numbers[:, :2])
    numbers[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(numbers, np.arange(60) % 2)


# ---------------------------------------------------------------------------------------------- a loop of one's own


def test_attach_takes_a_kind_a_mapping_or_a_list():
    """The same loss of all three."""
    torch.manual_seed(0)
    student, teacher, x = nn.Linear(4, 3), nn.Linear(4, 3), torch.rand(5, 4)
    found = []
    for signals in ("logits", {"kind": "logits"}, ["logits"], [{"kind": "logits"}]):
        attached = stillhouse.attach(student, teacher, signals, example=x)
        student(x)
        found.append(float(attached(x)))
        attached.close()
    assert len(set(found)) == 1


# ---------------------------------------------------------------------------------------------- few labels of one's own


def test_two_validation_rows_refuse_no_teacher():
    """100 labels leave ten to validate on, and no interval of ten rows of two classes is above a half."""
    labels = ["a", "b"] * 30
    inputs = [f"{label} word{n % 7}" for n, label in enumerate(labels)]
    shown = [label if n < 20 else None for n, label in enumerate(labels)]
    shares = np.eye(2)[[int(label == "b") for label in labels]] * 0.8 + 0.1
    found = stillhouse.distill(
        shares, "scorecard", (inputs, shown), test=(inputs[20:], labels[20:]), seeds=1, training__epochs=2
    )
    assert found.summary["teacher"]["rows"] == 20


def test_labels_that_differ_by_spaces_are_one_class_and_rows_in_both_splits_are_counted(tmp_path):
    """A space made a class of its own; test texts stood in training without a word."""
    from stillhouse.tasks.classification.data.config import WordDataConfig
    from stillhouse.tasks.classification.plan import ClassificationRunConfig
    from stillhouse.tasks.classification.task import TASK

    rows = [f"good {label * 2} word{n},{label}{' ' * (n % 3)}" for n, label in enumerate("ab" * 10)]
    for name, part in (("train", rows), ("test", [*rows[:3], "a new,a", "b new,b"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *part]))
    lines = []
    config = WordDataConfig(root=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"), validation_fraction=0.1)
    data = TASK.data(ClassificationRunConfig(data=config, student={"kind": "scorecard"}), lines.append)
    assert data.input_spec.class_names == ("a", "b")
    held = {text.partition(",")[0] for text in data.validation.raw}
    again = sum(row.partition(",")[0] not in held for row in rows[:3])
    assert any(line.startswith(f"{again} of 5 test rows are training rows too") for line in lines)
