"""Rules and scorecards in other programs: the same answers as the student on every test row, from the command line."""

import csv
import json
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

import stillhouse
from stillhouse.cli.main import main
from stillhouse.tasks.classification.data.readers import read_features
from stillhouse.tasks.classification.exports import text_of
from stillhouse.tasks.classification.readable import ReadableModel, Rule, readable_of

COMMON = ["teacher=null", "arms=[no-kd]", "signals=[]", "seeds=1", "training.epochs=12", "training.learning_rate=0.05"]
COMMON += ["training.threads=1", "training.warmup_epochs=0", "data.label_column=label", "--quiet"]


def table(path, rows=400):
    """A table with what tables have: cells that are missing, names with quotes and signs, values that look like numbers."""
    generator = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(['the "age" > 3', "job = what", "code", "label"])
        for _ in range(rows):
            age, job = generator.integers(18, 80), generator.choice(["clerk", "cook's", "Straße", ""])
            old = (age > 50) != (job == "clerk")
            cell = "" if generator.random() < 0.1 else str(age)
            writer.writerow([cell, job, generator.choice(["01", "1x"]), "old <a>" if old else "young"])


@pytest.fixture(scope="module", params=["rules-words", "rules-table", "scorecard-words", "scorecard-table"])
def student(request, tmp_path_factory):
    """(folder of a run, whether it is of a table)."""
    kind, _, data = request.param.partition("-")
    folder = tmp_path_factory.mktemp(request.param)
    if data == "table":
        table(folder / "rows.csv")
        own = ["data.name=table", f"data.root={folder / 'rows.csv'}"]
    else:
        own = ["data.name=words", "data.root=builtin:banking", "data.train_limit=500", "data.label_limit=200"]
    settings = folder / "run.yaml"
    settings.write_text(f"data: {{name: {'words' if data == 'words' else data}, root: x}}\nstudent: {{kind: {kind}}}\n")
    assert main(["distill", str(settings), *own, *COMMON, "--out", str(folder / "run")]) == 0
    return folder / "run", data == "table"


@pytest.mark.parametrize("form", ["python", "sql", "json", "c", "rules"])
def test_every_form_answers_as_the_student(student, form, tmp_path, capsys):
    """Exit code 0 means that every test row was compared; of words there is no SQL."""
    folder, is_table = student
    if form == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    status = main(["export", str(folder), "--to", form, "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    if form == "sql" and not is_table:
        assert status
        assert "expected a student of a table" in said.err
        return
    assert status == 0, said.err
    assert "of 80 answers equal" in said.out or "of 480 answers equal" in said.out or form == "rules"


def test_the_program_runs_alone(student, tmp_path):
    """In a Python without our package, on rows from standard input: the answers of `stillhouse predict`."""
    folder, is_table = student
    place = tmp_path / "student.py"
    assert main(["export", str(folder), "--to", "python", "--out", str(place)]) == 0
    loaded = stillhouse.load(folder)
    raw = (
        [{'the "age" > 3': age, "job = what": job, "code": "01"} for age in ("20", "70", "") for job in ("clerk", "")]
        if is_table
        else ["My card was stolen!", "exchange-rate, a bit wrong? É", "top up limit", ""]
    )
    if is_table:
        lines = ['"the ""age"" > 3",job = what,code', *(",".join(row.values()) for row in raw)]
    else:
        lines = raw
    ran = subprocess.run(
        [sys.executable, "-I", place],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert ran.stdout.splitlines() == [row["class"] for row in loaded.predict(raw)]


def test_a_loaded_student_prints_its_rules(student):
    """What its run wrote; fewer lines if asked for; also of a training that is not shipped."""
    folder, _ = student
    loaded = stillhouse.load(folder)
    assert loaded.rules() == (folder / "rules.txt").read_text(encoding="utf-8")
    assert len(loaded.rules(6).splitlines()) <= 6
    assert "that trained nothing" in loaded.rules()
    summary = json.loads((folder / "summary.json").read_text())["rules"]
    accuracy = json.loads((folder / "summary.json").read_text())["arms"]["no-kd"]["accuracy"]["mean"]
    assert abs(summary["full"] - accuracy) < 0.2
    assert 0 < summary["shown"] <= 1
    assert "What decides" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_model_alone_predicts_as_the_student(student):
    """NumPy and the card's reader, without the network."""
    folder, is_table = student
    loaded = stillhouse.load(folder)
    model = readable_of(loaded.network, loaded.input_spec)
    raw = [{'the "age" > 3': 33, "job = what": "Straße", "code": None}] if is_table else ["I lost my card", "12 £"]
    assert model.predict(raw) == [row["class"] for row in loaded.predict(raw)]
    assert model.compact().predict(raw) == model.predict(raw)


READING = {"kind": "words", "ngrams": 3, "text_column": "text"}
TEXTS = [
    "A b cd ef",
    "CD-ef gh_1 cd",
    "É Straße İstanbul",
    "cd cd",
    "",
    "x2 3y 44",
    "the\ncd\tef  gh_1",
    "cd a ef",
    "don't stop",
]


def test_plain_python_cuts_texts_as_scikit_learn_does():
    """Every run of up to three words that scikit-learn finds in these texts, and no other."""
    from sklearn.feature_extraction.text import CountVectorizer

    names = tuple(CountVectorizer(ngram_range=(1, 3)).fit(TEXTS).get_feature_names_out())
    model = ReadableModel(("a", "b"), READING, names, (), (0.0, 0.0))
    program: dict = {}
    exec(text_of(model, "python"), program)
    for text, row in zip(TEXTS, read_features(READING, names, TEXTS)):
        assert program["features"](text) == {name for name, count in zip(names, row) if count}


def test_sql_has_the_first_of_equal_classes_and_rules_for_cells_that_are_missing():
    """NOT of NULL is NULL: a rule `not age > 3` would not hold for a row without an age, and does for the student."""
    columns = [{"name": "age", "cuts": [3.0]}]
    rule = Rule((("age > 3", False),), (0.0, 0.0, 2.0))
    model = ReadableModel(
        ("b", "a", "c"), {"kind": "table", "columns": columns}, ("age > 3",), (rule,), (1.0, 2.0, 2.0)
    )
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE rows (age REAL)")
    base.execute("INSERT INTO rows VALUES (4), (NULL)")
    answers = [row[-1] for row in base.execute(text_of(model, "sql"))]
    assert answers == ["a", "c"] == model.predict([{"age": 4}, {"age": None}])


def test_a_tie_is_the_first_class_in_every_program():
    """Equal points: the first of the classes, as argmax has it."""
    columns = [{"name": "age", "cuts": [3.0]}]
    model = ReadableModel(("b", "a", "c"), {"kind": "table", "columns": columns}, ("age > 3",), (), (1.0, 2.0, 2.0))
    program: dict = {}
    exec(text_of(model, "python"), program)
    assert program["predict"]({"age": 4}) == "a"
