"""Labelled texts from a file: the same rows whatever the format, and a whole run on them by YAML."""

import csv
import json

import pytest
import torch

import stillhouse
from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.records import read_json
from stillhouse.core.types import TextSpec
from stillhouse.tasks import task_at
from stillhouse.tasks.classification.card import save_student
from stillhouse.tasks.classification.data.config import TextDataConfig
from stillhouse.tasks.classification.data.rows import hashed_words
from stillhouse.tasks.classification.students.networks import TextTransformerConfig

WORDS = {"good": ("fine", "lovely", "glad"), "bad": ("awful", "dull", "sour")}


def rows(count=120):
    """A word of the class in the middle of others; which one changes from row to row."""
    return [
        {"text": f"it was {WORDS[label][n % 3]} to see number {n % 7}", "label": label}
        for n in range(count)
        for label in ("good", "bad")
    ]


def write(folder, kind, found):
    path = folder / f"reviews.{kind}"
    with path.open("w", newline="") as file:
        if kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in found)
        else:
            writer = csv.DictWriter(file, list(found[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(found)
    return path


def test_the_format_makes_no_difference(tmp_path):
    """Row by row the same ids and labels, three splits without a common row."""
    found = [TextDataConfig(root=str(write(tmp_path, kind, rows()))).build() for kind in ("csv", "tsv", "jsonl")]
    assert len({data.sha256 for data in found}) == 1
    data = found[0]
    assert data.input_spec.class_names == ("bad", "good")
    assert sum(data.sizes.values()) == 240
    assert data.sizes["test"] == 48
    fine = hashed_words(4096)("fine")[0]
    assert bool((data.train.ids == fine).any(1).logical_and(data.train.labels == 0).sum() == 0)  # "fine" is never bad


def test_words_are_hashed_the_same_everywhere():
    """By CRC-32, not by Python's own hash, which differs from process to process."""
    import zlib

    expected = [1 + zlib.crc32(word) % 99 for word in (b"fine", b",", b"fine")]
    assert hashed_words(100)("Fine , fine") == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text_column": "texts"}, "did you mean 'text'"),
        ({"label_column": "sentiment"}, "expected a column 'sentiment'"),
        ({"root": "nowhere.csv"}, "cannot read"),
        ({"root": "a.txt"}, "expected a .csv, .tsv, .jsonl"),
        ({"tokenizer": "nowhere.json"}, "data.tokenizer: cannot read"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, words):
    """With the file, the column, and what was expected."""
    with pytest.raises(InputError, match=words):
        parse(TextDataConfig, {"root": str(write(tmp_path, "csv", rows())), **change}).build()


def test_a_text_transformer_runs_by_yaml_and_teaches_a_smaller_one(tmp_path, capsys):
    """The student was listed and no file could run it; a student of a run is the teacher of the next."""
    root = write(tmp_path, "csv", rows())
    base = f"data: {{name: texts, root: {root}, length: 12, vocabulary: 512}}\nseeds: 1\n"
    base += "training: {epochs: 6, batch_size: 32, learning_rate: 0.01, device: cpu, threads: 1}\n"
    (tmp_path / "large.yaml").write_text(
        base + "student: {kind: text-transformer, width: 32}\nteacher: null\nsignals: []\narms: [no-kd]\n"
    )
    assert main(["distill", str(tmp_path / "large.yaml"), "--out", str(tmp_path / "large"), "--quiet"]) == 0
    features = "{kind: features, student: blocks.0, teacher: blocks.0}"
    (tmp_path / "small.yaml").write_text(
        base + "student: {kind: text-transformer, width: 8, depth: 1}\narms: [kd, no-kd]\n"
        f"teacher: {{source: 'run:{tmp_path / 'large'}'}}\nsignals: [{{kind: logits}}, {features}]\n"
    )
    assert main(["distill", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "small"), "--quiet"]) == 0
    summary = read_json(tmp_path / "small" / "summary.json")
    assert summary["teacher"]["test_score"] == 1.0  # a word decides the class
    task = task_at(tmp_path / "small")
    assert task.kind == "classification"
    student = task.load(tmp_path / "small" / "student")
    assert student(torch.zeros(1, 12, dtype=torch.int64)).shape == (1, 2)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "small")]) == 0
    kept = summary["arms"]["kd"]["accuracy"]["values"][0]
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(kept)
    assert main(["export", str(tmp_path / "small"), "--to", "hub", "--out", str(tmp_path / "hub")]) == 0
    texts = ["it was fine", "it was dull"]
    assert stillhouse.load(tmp_path / "hub").predict(texts) == stillhouse.load(tmp_path / "small").predict(texts)


def test_a_student_of_a_tokenizer_takes_it_along(tmp_path):
    """The words of a saved student were named by its run alone: its folder was of no use elsewhere."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "was": 1, "fine": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "words.json"))
    texts = TextDataConfig(root="gone.csv", tokenizer=str(tmp_path / "words.json"), length=4)
    config, input_spec = TextTransformerConfig(width=8, depth=1), TextSpec(("bad", "good"), 4, 4)
    save_student(tmp_path / "student", config.build(input_spec), config, input_spec, task="classification", texts=texts)
    (tmp_path / "words.json").unlink()
    assert stillhouse.load(tmp_path / "student").transform("was it fine").tolist() == [2, 1, 3, 0]
