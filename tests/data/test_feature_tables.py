"""Texts as words and tables as thresholds: what the training rows teach a reader, and what other rows become."""

import csv

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.tasks.classification.data.config import (
    ClassesDataConfig,
    TableDataConfig,
    TextDataConfig,
    WordDataConfig,
)
from stillhouse.tasks.classification.data.readers import fit_table, fit_words, read_features, table_names
from stillhouse.tasks.classification.data.rows import HERE
from stillhouse.tasks.classification.data.split import drawn


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def sorted_texts(folder, count=60, classes=2):
    """Every text has a word of its own; the rows come class by class."""
    return write(
        folder / "texts.csv",
        [
            {"text": f"own{label}x{n} said word{label} twice word{label} Straße", "label": f"c{label:02d}"}
            for label in range(classes)
            for n in range(count)
        ],
    )


def test_the_vocabulary_is_of_training_texts_alone(tmp_path):
    """Each text has a word of its own: one of a validation or test text that is a feature came from where it must not."""
    data = WordDataConfig(root=sorted_texts(tmp_path), min_texts=1, ngrams=1).build()
    held = {word for split in (data.validation, data.test) for text in split.raw for word in text.lower().split()}
    trained = {word for text in data.train.raw for word in text.lower().split()}
    assert set(data.input_spec.names) == trained
    assert not {word for word in held - trained if word in data.input_spec.names}
    assert sum(data.sizes.values()) == 120


@pytest.mark.parametrize("classes", [2, 12])
def test_counts_are_those_of_scikit_learn_and_keep_their_labels(tmp_path, classes):
    """The same features of the same rows whatever the order of the file; frequencies as TfidfVectorizer has them."""
    root = sorted_texts(tmp_path, classes=classes)
    data = WordDataConfig(root=root, min_texts=3).build()
    reference = TfidfVectorizer(ngram_range=(1, 2), min_df=3).fit(data.train.raw)
    assert list(data.input_spec.names) == reference.get_feature_names_out().tolist()
    np.testing.assert_allclose(data.input_spec.idf, reference.idf_)
    for split in (data.train, data.validation, data.test):
        for label, row, text in zip(split.labels.tolist(), split.ids, split.raw):
            assert row[data.input_spec.names.index(f"word{label}")] == 2
            assert f"word{label} " in text
    assert data.input_spec.class_names == tuple(f"c{label:02d}" for label in range(classes))


def test_every_row_keeps_its_number_and_few_labels_are_drawn_anew(tmp_path):
    """Row numbers are those of the file, in each split and under a limit; test rows of another file come after them."""
    root = sorted_texts(tmp_path)
    with open(root, encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    data = WordDataConfig(root=root, label_limit=20).build()
    for split in (data.train, drawn(data, 3).validation, data.test):
        batch = split.batch(torch.tensor([1, 0]))
        for number, counts in zip(batch.rows.tolist(), batch.inputs):
            again = read_features(data.input_spec.reading, data.input_spec.names, [texts[number]])[0]
            assert counts.tolist() == again.tolist()
    kept = [(drawn(data, seed).train.labels >= 0).nonzero().flatten().tolist() for seed in (0, 1)]
    assert [len(rows) for rows in kept] == [18, 18]
    assert kept[0] != kept[1]
    other = write(
        tmp_path / "other.csv", [{"text": "word0 said", "label": "c00"}, {"text": "twice word1", "label": "c01"}]
    )
    apart = WordDataConfig(root=root, test=other).build()
    assert apart.sizes["test"] == 2
    assert apart.test.batch(torch.tensor([1])).rows.tolist() == [121]
    strange = write(tmp_path / "strange.csv", [{"text": "word0", "label": "c07"}])
    with pytest.raises(InputError, match="1 of 1 are of a class without a labelled training row, as 'c07'"):
        WordDataConfig(root=root, test=strange).build()


def test_texts_without_a_known_word_count_nothing():
    """Empty ones too; other letters than English ones are letters."""
    names, _ = fit_words(["straße zum café", "straße zum kino"], ngrams=2, most=9, least=2)
    assert names == ["straße", "straße zum", "zum"]
    read = read_features({"kind": "words", "ngrams": 2}, names, ["", "nothing known", "Die STRASSE", "Straße, zum zum"])
    assert read.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 2]]


def test_a_vocabulary_needs_words_and_texts_are_strings():
    """In one line each."""
    with pytest.raises(InputError, match="at least 2 of 2 training texts"):
        fit_words(["one thing", "another matter"], ngrams=1, most=9, least=2)
    with pytest.raises(InputError, match="row 2: expected a text, got float"):
        read_features({"kind": "words", "ngrams": 1}, ["a"], ["x", 3.0])


def people(count=400):
    """Age decides, job follows it; a number that never changes, and cells that are missing."""
    found = []
    for n in range(count):
        age = 20 + (7 * n) % 50
        found.append(
            {
                "age": "" if n % 20 == 0 else age,
                "job": 'it\'s a "cook"' if age > 45 else "clerk",
                "same": 3,
                "id": f"row {n}",
                "label": "old" if age > 45 else "young",
            }
        )
    return found


def test_a_table_is_asked_what_training_rows_are_worth_asking(tmp_path):
    """Thresholds are values that occur, a constant and an identifier are no features, absence is one."""
    data = TableDataConfig(root=write(tmp_path / "people.csv", people()), levels=4).build()
    names = data.input_spec.names
    assert {"age is missing", "job = clerk", 'job = it\'s a "cook"'} < set(names)
    assert sum(name.startswith("age >") for name in names) == 4
    assert not any(name.startswith(("same", "id")) for name in names)
    ages = [int(row["age"]) for row in data.train.raw if row["age"]]
    cuts = next(column for column in data.input_spec.reading["columns"] if column["name"] == "age")["cuts"]
    assert cuts == np.quantile(ages, [0.2, 0.4, 0.6, 0.8], method="lower").tolist()
    for split in (data.train, data.test):
        for row, bits in zip(split.raw, split.ids.tolist()):
            asked = dict(zip(names, bits))
            assert asked["age is missing"] == (row["age"] == "")
            assert all(asked[f"age > {cut:.15g}"] == (row["age"] != "" and int(row["age"]) > cut) for cut in cuts)
            assert asked["job = clerk"] == (row["job"] == "clerk")


def test_parquet_is_read_as_csv_is(tmp_path):
    """Numbers and nothing in place of texts: the same features."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = people()
    first = TableDataConfig(root=write(tmp_path / "people.csv", rows)).build()
    typed = [{**row, "age": None if row["age"] == "" else float(row["age"])} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(typed), tmp_path / "people.parquet")
    assert TableDataConfig(root=str(tmp_path / "people.parquet")).build().sha256 == first.sha256


def test_rows_that_a_table_cannot_read_are_refused(tmp_path):
    """A column that lacks, words where a number was; a value that no training row had is none of the known ones."""
    columns = fit_table(people(), ["age", "job"], levels=2, categories=9, least=5)
    reading, names = {"kind": "table", "columns": columns}, table_names(columns)
    with pytest.raises(InputError, match="row 1: expected a column 'age'; did you mean 'ages'"):
        read_features(reading, names, [{"ages": 3, "job": "clerk"}])
    with pytest.raises(InputError, match="row 2, column 'age': expected a number, got 'thirty'"):
        read_features(reading, names, [{"age": 30, "job": "clerk"}, {"age": "thirty", "job": "clerk"}])
    assert not read_features(reading, names, [{"age": "1", "job": "pilot"}]).any()
    with pytest.raises(InputError, match="expected a column that tells rows apart"):
        fit_table([{"id": f"row {n}"} for n in range(9)], ["id"], levels=2, categories=9, least=2)


def test_data_are_read_by_their_name():
    """A name over a recipe of images changes the kind, settings of other kinds that nobody set are dropped."""
    found = parse(ClassesDataConfig, {"name": "words", "root": "a.csv", "augment": "none", "length": 64, "ngrams": 1})
    assert type(found) is WordDataConfig
    assert found.ngrams == 1
    assert type(parse(ClassesDataConfig, {"name": "table", "root": "a.csv"})) is TableDataConfig
    assert type(parse(ClassesDataConfig, {"name": "texts", "root": "a.csv"})) is TextDataConfig


def test_students_of_pixels_or_tokens_refuse_words(tmp_path, capsys):
    """In one line, before a teacher is loaded: it was an AttributeError."""
    run = f"data: {{name: words, root: {sorted_texts(tmp_path)}}}\nstudent: {{kind: flat-tm}}\narms: [no-kd]\n"
    (tmp_path / "run.yaml").write_text(run + "teacher: null\nsignals: []\n")
    assert main(["distill", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "student: kind 'flat-tm' reads images, and data 'texts' are words or a table" in capsys.readouterr().err


def test_the_messages_in_the_package_have_a_vector_each():
    """12 intents, split as they were published, and one row of vectors.npy for each text in this order."""
    data = WordDataConfig(root="builtin:banking", label_limit=100).build()
    assert data.name == "banking"
    assert data.input_spec.num_classes == 12
    assert data.sizes["test"] == 480
    vectors = np.load(HERE / "vectors.npy")
    assert len(vectors) == 1579 + 480
    assert data.test.numbers.tolist() == list(range(1579, 2059))
    near = vectors[1579:].astype(float) @ vectors[:1579].T.astype(float)
    whole = data.hidden.train.labels[data.hidden.train.labels >= 0]
    trained = data.hidden.train.numbers[data.hidden.train.labels >= 0]
    found = whole[torch.from_numpy(near[:, trained.numpy()].argmax(1))]
    assert (found == data.test.labels).float().mean() > 0.9  # of a neighbour; rows in another order: a twelfth
