"""A label that is missing is never a class: such rows are training rows of every source, and no validation or test rows."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.labels import missing_labels
from stillhouse.core.types import Batch, ImageSpec
from stillhouse.tasks.classification.data.config import DataConfig, TextDataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.data.rows import RowData
from stillhouse.tasks.embed.data import VectorsConfig, open_vectors
from stillhouse.teachers.check import check_teacher
from stillhouse.teachers.teacher import Teacher


def counts(data):
    """Labelled rows of training, validation and test, and training rows without a label."""
    labels = [split.labels for split in (data.train, data.validation, data.test)]
    assert all((found >= 0).all() for found in labels[1:])
    return [int((found >= 0).sum()) for found in labels] + [int((labels[0] == -1).sum())]


CELLS = {
    "empty": "",
    "blank": "  ",
    "null": "null",
    "NULL": "NULL",
    "NaN": "NaN",
    "nan": "nan",
    "-1": "-1",
    "-1.0": "-1.0",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, -1, 255, -2]), [0, 1, 0, 0]),
        (np.array([0, 255], np.uint8), [0, 0]),
        (np.array([1.0, np.nan, -1.0, 0.0]), [0, 1, 1, 0]),
        (np.array(["a", "", "none", "NaN"]), [0, 1, 0, 1]),
        (np.array([1, None, "x", float("nan"), -1], object), [0, 1, 0, 1, 1]),
        (np.ma.masked_array([0, 1, 2], [False, True, False]), [0, 1, 0]),
        (torch.tensor([0, -1]), [0, 1]),
        ([True, False, None], [0, 0, 1]),
        ([], []),
    ],
)
def test_which_labels_are_missing(labels, expected):
    """By hand, for each type that labels come in; `none` and numbers but -1 are labels."""
    assert missing_labels(labels).tolist() == [bool(one) for one in expected]


# ---------------------------------------------------------------------------------------------- texts


def table(place, kind, labels):
    rows = [{"text": f"word {n} here", "label": label} for n, label in enumerate(labels)]
    path = place / f"mixed.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text(
            "".join(mark.join(map(str, row)) + "\n" for row in [("text", "label"), *(r.values() for r in rows)])
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_without_a_label_are_training_rows(tmp_path, kind, cell):
    """They became a class called "", and the accuracy was its share. A fifth of the 40 labelled rows is for the test."""
    path = table(tmp_path, kind, ["good", "bad"] * 20 + [CELLS[cell]] * 60)
    data = TextDataConfig(root=str(path)).build()
    assert data.input_spec.class_names == ("bad", "good")
    assert counts(data) == [28, 4, 8, 60]
    assert [data.train.raw[0], data.train.numbers[-1].item()] == ["word 0 here", 99]
    assert data.train.raw[-1] == "word 99 here"


@pytest.mark.parametrize("value", [None, float("nan"), -1])
def test_json_without_a_label_is_a_training_row(tmp_path, value):
    """`null` became the class "None"."""
    path = table(tmp_path, "jsonl", [value, *["good", "bad"] * 20])
    assert counts(TextDataConfig(root=str(path)).build()) == [28, 4, 8, 1]


def test_rows_that_lack_the_column_have_no_label(tmp_path):
    """A short row of a table, an object without the key; that the first row has none does not make the column unknown."""
    (tmp_path / "short.csv").write_text("text,label\nno label here\n" + "a b,good\nc d,bad\n" * 20)
    (tmp_path / "short.jsonl").write_text(
        '{"text": "x"}\n' + '{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n' * 20
    )
    for name in ("short.csv", "short.jsonl"):
        assert counts(TextDataConfig(root=str(tmp_path / name)).build()) == [28, 4, 8, 1]


@pytest.mark.parametrize("split", [1, 2])
def test_lists_of_texts_need_labels(split):
    splits = [(["a", "b"], [0, 1]) for _ in range(3)]
    splits[split] = (["a", "b"], [0, None])
    name = ("train", "validation", "test")[split]
    with pytest.raises(
        InputError, match=rf"{name} labels: no label in 1 of 2 rows \(first: row 1\); each {name} row needs one"
    ):
        RowData.from_texts(splits, lambda text: [1], class_names=("x", "y"), vocabulary=4)


def test_lists_of_training_texts_may_lack_labels():
    splits = [(["a", "b", "c"], [0, None, -1]), *[(["a", "b"], [0, 1])] * 2]
    data = RowData.from_texts(splits, lambda text: [1], class_names=("x", "y"), vocabulary=4)
    assert data.train.labels.tolist() == [0, -1, -1]


def test_a_run_says_how_many_have_a_label(tmp_path, capsys):
    """The line about the data counts them."""
    path = table(tmp_path, "csv", ["good", "bad"] * 20 + [""] * 60)
    (tmp_path / "run.yaml").write_text(
        f"data: {{name: texts, root: {path}}}\nstudent: {{kind: text-transformer}}\nteacher: null\nsignals: []\narms: [no-kd]\n"
    )
    main(["check", str(tmp_path / "run.yaml")])
    shown = "".join(capsys.readouterr())
    assert "data: mixed, 88 train (28 labelled), 4 validation, 8 test" in shown


# ---------------------------------------------------------------------------------------------- arrays


PIXELS = np.random.default_rng(0).integers(0, 255, (40, 4, 4), dtype=np.uint8)
LABELS = np.arange(40) % 2


def without(rows, kind=np.int64):
    labels = LABELS.astype(kind)
    labels[list(rows)] = np.nan if np.dtype(kind).kind == "f" else None if kind is object else -1
    return labels


@pytest.mark.parametrize("kind", [np.int64, np.int8, float, object])
def test_arrays_without_labels_are_training_rows(kind):
    """-1; NaN, which makes whole numbers floats; None, which makes them objects. A label for test or validation must be there."""
    data = ImageData.from_arrays(PIXELS, without([7, 9], kind))
    assert counts(data) == [19, 3, 16, 2]
    assert counts(ImageData.from_arrays(PIXELS, without(range(20), kind))) == [10, 2, 8, 20]
    assert data.train.numbers[data.train.labels == -1].tolist() == [7, 9]
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(PIXELS)[data.train.numbers])
    for split in ("test", "validation"):
        with pytest.raises(
            InputError, match=rf"^{split}_labels: no label in 1 of 40 rows .* each {split} row needs one"
        ):
            ImageData.from_arrays(PIXELS, LABELS, **{split: (PIXELS, without([3], kind))})


def test_a_list_and_a_tensor_of_labels_are_read_alike():
    for labels in ([*LABELS.tolist()[:-1], None], torch.from_numpy(without([39]))):
        data = ImageData.from_arrays(PIXELS, labels)
        assert data.train.numbers[data.train.labels == -1].tolist() == [39]


@pytest.mark.parametrize(
    "labels", [np.full(40, -1), np.full(40, None), np.full(40, -2), np.array([0.5, None] * 20, object)]
)
def test_labels_that_are_none_at_all_are_refused(labels):
    with pytest.raises(InputError, match=r"^labels: expected "):
        ImageData.from_arrays(PIXELS, labels)


@pytest.mark.parametrize("split", ["test_", "validation_"])
def test_npz_files_without_labels_are_refused(tmp_path, split):
    arrays = {"images": PIXELS, "labels": LABELS, f"{split}images": PIXELS, f"{split}labels": without([5], float)}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=rf"{split}labels: no label in 1 of 40 rows \(first: row 5\)"):
        DataConfig(name="npz", root=str(tmp_path / "d.npz")).build()


# ---------------------------------------------------------------------------------------------- folders


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    for number in range(60):
        picture(tmp_path / "p" / "train" / ("cat", "dog")[number % 2] / f"{number:02}.png", number)
    for number in range(60, 70):
        picture(tmp_path / "p" / "test" / ("cat", "dog")[number % 2] / f"{number:02}.png", number)
    return tmp_path / "p"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["train/unlabelled", "unlabelled", "train/Unlabeled", "unlabelled/more"])
def test_a_folder_called_unlabelled_is_no_class(pictures, place, stream):
    picture(pictures / place / "a.png", 100)
    picture(pictures / place / "b.png", 101)
    data = DataConfig(name="folder", root=str(pictures), image_size=8, stream=stream).build()
    assert data.input_spec.class_names == ("cat", "dog")
    assert counts(data) == [54, 6, 10, 2]
    with Image.open(pictures / place / "b.png") as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    found = data.train.batch(torch.nonzero(data.train.labels == -1).flatten()).inputs
    assert torch.equal((found[1] * 255).round().to(torch.uint8), expected)


def test_an_unlabelled_image_that_is_a_test_image_is_refused(pictures):
    """A teacher would label it for the student."""
    picture(pictures / "unlabelled" / "a.png", 60)  # the bytes of test/cat/60.png
    with pytest.raises(InputError, match="is also in the"):
        DataConfig(name="folder", root=str(pictures)).build()


def test_without_splits_too_and_an_empty_one_is_none(pictures):
    (pictures / "train" / "unlabelled").mkdir()
    data = DataConfig(name="folder", root=str(pictures / "train")).build()
    assert data.input_spec.class_names == ("cat", "dog")
    picture(pictures / "train" / "unlabelled" / "a.png", 100)
    assert counts(DataConfig(name="folder", root=str(pictures / "train")).build())[-1] == 1


def test_a_test_split_needs_classes(pictures):
    """Always, though training does not."""
    picture(pictures / "test" / "unlabelled" / "a.png", 100)
    with pytest.raises(InputError, match=r"no label in 1 of 1 rows .*; each test row needs one"):
        DataConfig(name="folder", root=str(pictures)).build()


# ---------------------------------------------------------------------------------------------- vectors, teachers


def test_labels_of_vectors_are_never_missing(tmp_path):
    """They colour the explorer and score neighbours of test rows: the missing ones were a class of their own."""
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", vectors)
    missing = r"labels: no label in 2 of 30 rows \(first: row 4\); each test row needs one"
    for labels in (np.where(np.isin(np.arange(30), (4, 8)), -1, 1), [None if n in (4, 8) else "a" for n in range(30)]):
        with pytest.raises(InputError, match=missing):
            open_vectors(tmp_path / "x.npy", labels=labels)
    pq.write_table(
        pa.table({"embeddings": list(vectors), "topic": [None if n in (4, 8) else "a" for n in range(30)]}),
        tmp_path / "x.parquet",
    )
    (tmp_path / "x.txt").write_text("".join(("" if n in (4, 8) else "a") + "\n" for n in range(30)))
    for settings in (
        {"path": "x.parquet", "labels": "topic"},
        {"path": "x.npy", "labels": str(tmp_path / "x.txt")},
    ):
        with pytest.raises(InputError, match=missing):
            VectorsConfig(**{**settings, "path": str(tmp_path / settings["path"])}).build()


def test_a_teacher_is_not_checked_on_rows_without_a_label():
    """numpy's own words for it: `'list' argument must have no negative elements`."""
    input_spec = ImageSpec(("a", "b"), (1, 4, 4), (0.5,), (0.5,))
    teacher = Teacher.from_module(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)), input_spec)
    batch = Batch(torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, -1, 1]), torch.arange(4))
    with pytest.raises(InputError, match=r"no label in 1 of 4 rows \(first: row 2\)"):
        check_teacher(teacher, [batch])
