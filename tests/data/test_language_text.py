"""Texts as token ids on disk: what cannot be read is told, what was written is found again."""

import json

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.data.corpus import MANIFEST, Windows
from stillhouse.tasks.lm.data.tokenizer import (
    TOKENIZER_FILE,
    Tokenizer,
    byte_tokenizer,
    check_same_tokenizer,
    load_tokenizer,
    train_bpe,
)

WORDS = "the river ran over the stones and the stones sang of naïve \N{SNOWMAN} rivers .\n"


@pytest.fixture
def folder(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for name, lines in {"train": 60, "valid": 11, "test": 12}.items():
        (text / f"{name}.txt").write_text(WORDS * lines, encoding="utf-8")
    return text


def config(folder, tmp_path, **changes):
    return CorpusConfig(**{"source": str(folder), "tokenizer": "bytes", "cache": str(tmp_path / "cache"), **changes})


def test_ids_of_bytes_are_the_bytes(folder, tmp_path):
    """A wrong byte alphabet would still train, on the wrong text."""
    corpus = config(folder, tmp_path).build()
    assert corpus.test.ids.tolist() == list((WORDS * 12).encode())
    assert corpus.test.bytes == len(corpus.test.ids)
    assert byte_tokenizer().decode(range(65, 91)) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [byte_tokenizer().encode(chr(b))[0] for b in range(128)] == list(range(128))


def test_ids_are_written_once_and_mapped(folder, tmp_path):
    """Tokenizing again at every start costs minutes."""
    first = config(folder, tmp_path).build()
    stamp = (first.folder / "train.ids").stat().st_mtime_ns
    second = config(folder, tmp_path).build()
    assert isinstance(second.train.ids, np.memmap)
    assert (first.folder / "train.ids").stat().st_mtime_ns == stamp
    assert first.about == second.about
    assert config(folder, tmp_path, most_bytes=200).build().folder != first.folder


def test_damaged_ids_are_refused(folder, tmp_path):
    """A half-copied cache would be trained on."""
    corpus = config(folder, tmp_path).build()
    ids = np.array(corpus.train.ids)
    ids[5] += 1
    ids.tofile(corpus.folder / "train.ids")
    with pytest.raises(InputError, match=r"not those of the manifest"):
        config(folder, tmp_path).build()
    (corpus.folder / "train.ids").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot be read"):
        config(folder, tmp_path).build()


def test_a_cut_off_write_is_made_again(folder, tmp_path):
    """The manifest is written last: without it nothing of the folder counts."""
    corpus = config(folder, tmp_path).build()
    (corpus.folder / MANIFEST).unlink()
    (corpus.folder / "test.ids").unlink()
    assert len(config(folder, tmp_path).build().test) == len(corpus.test)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty file"), (b" \n\n", "empty file"), (b"ab\xff\xfe", "0xff at 2")]
)
def test_empty_and_wrong_bytes_are_told(folder, tmp_path, content, said):
    """An empty split, or Latin-1, gives a run of nonsense."""
    (folder / "valid.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        config(folder, tmp_path).build()


def test_missing_files_and_few_lines_are_told(folder, tmp_path):
    """Three lines cannot be cut into three splits."""
    (folder / "test.txt").unlink()
    with pytest.raises(InputError, match=r"cannot read the text .*test\.txt"):
        config(folder, tmp_path).build()
    (tmp_path / "short.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"at least 20 lines"):
        config(tmp_path / "short.txt", tmp_path).build()


@pytest.mark.parametrize(
    ("tokenizer", "said"), [("bpe:many", "whole number"), ("bpe:100", "257"), ("nowhere", "found none")]
)
def test_tokenizers_that_are_none_are_told(folder, tmp_path, tokenizer, said):
    """A misspelt tokenizer must not fall back to another."""
    with pytest.raises(InputError, match=said):
        config(folder, tmp_path, tokenizer=tokenizer).build()


def test_a_broken_tokenizer_file_and_gguf_are_told(tmp_path):
    """The Rust side panics with plain exceptions."""
    (tmp_path / TOKENIZER_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(InputError, match=r"no such file"):
        load_tokenizer(str(tmp_path / "model.gguf"))


def test_another_tokenizer_is_refused():
    """Logits of other tokens are noise that trains: vocabularies and cuts must both agree."""
    check_same_tokenizer(byte_tokenizer(), byte_tokenizer())
    with pytest.raises(InputError, match=r"256 and \d+ tokens"):
        check_same_tokenizer(byte_tokenizer(), train_bpe([WORDS] * 9, 300))
    whole, split = byte_tokenizer(), train_bpe([WORDS] * 9, 300)
    other = type(split)(type(split.backend).from_str(split.backend.to_str()), "other")
    state = json.loads(other.backend.to_str())
    state["model"]["merges"] = state["model"]["merges"][:3]
    other = type(split)(type(split.backend).from_str(json.dumps(state)), "other")
    with pytest.raises(InputError, match=r"cut otherwise"):
        check_same_tokenizer(split, other)
    assert whole.fingerprint != split.fingerprint


def test_ids_out_of_range_are_refused(folder, tmp_path, monkeypatch):
    """An id beyond the embedding crashes far away, or reads another row."""
    with pytest.raises(InputError, match=r"0 to 255, got 256"):
        byte_tokenizer().decode([65, 256])
    monkeypatch.setattr(Tokenizer, "encode_lines", lambda self, lines: [self.encode(line) + 200 for line in lines])
    with pytest.raises(InputError, match=r"0 to 255, got 4\d\d"):
        config(folder, tmp_path).build()


def test_windows_are_neighbours_and_do_not_overlap():
    """An off-by-one target teaches copying."""
    rows = Windows(np.arange(21, dtype=np.uint16), 5)
    inputs, targets = rows(np.array([0, 3]))
    assert len(rows) == 4
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [15, 16, 17, 18, 19]]
    assert (targets == inputs + 1).all()
