"""Texts as token ids on disk: what cannot be read is told, what was written is found again."""

import json

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.lm.corpus import CorpusConfig, Windows, load_corpus
from stillhouse.tasks.lm.tokenizer import Tokenizer, byte_tokenizer, check_same_tokenizer, train_bpe

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
    """A wrong byte alphabet would still train, on the wrong text; of the train split only the first lines may be read."""
    corpus = load_corpus(config(folder, tmp_path, most_bytes=len(WORDS.encode()) + 1))
    assert corpus.test.tolist() == list((WORDS * 12).encode())
    assert corpus.train.tolist() == list((WORDS * 2).encode())
    assert byte_tokenizer().decode(range(65, 91)) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [byte_tokenizer().encode(chr(b))[0] for b in range(128)] == list(range(128))


def test_ids_are_written_once_and_mapped(folder, tmp_path, monkeypatch):
    """Tokenizing again at every start costs minutes; what was cut off is made again."""
    first, (kept,) = load_corpus(config(folder, tmp_path)), (tmp_path / "cache").iterdir()
    (kept / "test.npy").unlink()
    second = load_corpus(config(folder, tmp_path))
    monkeypatch.setattr(Tokenizer, "encode_lines", None)
    third = load_corpus(config(folder, tmp_path))
    assert isinstance(third.train, np.memmap)
    assert first.facts == second.facts == third.facts


@pytest.mark.parametrize(
    ("name", "content", "tokenizer", "said"),
    [
        ("valid.txt", b" \n\n", "bytes", "empty file"),
        ("valid.txt", b"ab\xff\xfe", "bytes", "0xff at 2"),
        ("valid.txt", None, "bytes", r"cannot read the text .*valid\.txt"),
        (None, b"one\ntwo\n", "bytes", "at least 20 lines"),
        ("tokenizer.json", b"{}", ".", "cannot be read"),
        ("x.gguf", b"GGUF", "x.gguf", "cannot be read|needs"),
        ("x", b"", "nowhere", "found none"),
        ("x", b"", "bpe:many", "whole number"),
        ("x", b"", "bpe:\u00b2", "whole number"),
        ("x", b"", "bpe:100", "257"),
    ],
)
def test_what_cannot_be_read_is_told(folder, tmp_path, monkeypatch, name, content, tokenizer, said):
    """An empty split, Latin-1, three lines for three splits, a misspelt tokenizer: a run of nonsense."""
    monkeypatch.chdir(folder)
    file = folder / (name or "short.txt")
    file.unlink(missing_ok=True) if content is None else file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_corpus(config(folder if name else file, tmp_path, tokenizer=tokenizer))


def test_another_tokenizer_is_refused():
    """Logits of other tokens are noise that trains: vocabularies and cuts must both agree."""
    check_same_tokenizer(byte_tokenizer(), byte_tokenizer())
    split = train_bpe([WORDS] * 9, 300)
    state = json.loads(split.backend.to_str())
    state["model"]["merges"] = state["model"]["merges"][:3]
    for other in (byte_tokenizer(), Tokenizer(type(split.backend).from_str(json.dumps(state)), "other")):
        with pytest.raises(InputError, match="expected that of the teacher"):
            check_same_tokenizer(split, other)


def test_windows_are_neighbours_and_do_not_overlap():
    """An off-by-one target teaches copying."""
    rows = Windows(np.arange(21, dtype=np.uint16), 5)
    inputs, targets = rows(np.array([0, 3]))
    assert len(rows) == 4
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [15, 16, 17, 18, 19]]
    assert (targets == inputs + 1).all()
