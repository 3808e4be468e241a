"""Text files into sentences: formats of real sets, damaged bytes, nothing shifted."""

import os
from pathlib import Path

import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.data.texts import read_lines, read_pairs, read_table, read_texts

ASSETS = Path(os.environ.get("STILLHOUSE_ASSETS", Path(__file__).parents[2].parent / "shared" / "assets")) / "text"


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines_are_stripped_limited_and_kept_once(tmp_path):
    """Twins of a text would fall on two sides of a split."""
    path = written(tmp_path, "x.txt", "\ufeff one  two \r\n\nthree\none two\nfour five six\n")
    assert read_texts(path) == ["one two", "three", "four five six"]
    assert read_texts(path, deduplicate=False) == ["one two", "three", "one two", "four five six"]
    assert read_texts(path, min_chars=6, max_chars=8) == ["one two"]
    assert read_texts(path, limit=2) == ["one two", "three"]


def test_columns_by_name_read_the_header(tmp_path):
    """A header taken for a text, or a text for a header."""
    path = written(tmp_path, "x.csv", "id,body\n1,hello\n2,bye\n")
    assert read_texts(path, columns=("body",)) == ["hello", "bye"]
    with pytest.raises(InputError, match="no column 'bodi' in the header; did you mean 'body'"):
        read_texts(path, columns=("bodi",))
    with pytest.raises(InputError, match="row 1: expected column 4, got 2 columns"):
        read_texts(path, columns=(4,))


def test_json_lines_give_a_field(tmp_path):
    """And name the line that is not what it must be."""
    path = written(tmp_path, "x.jsonl", '{"text": "a", "title": "t"}\n\n{"text": "b\\u2028c", "title": "u"}\n')
    assert read_texts(path) == ["a", "b c"]
    assert read_texts(path, columns=("title",)) == ["t", "u"]
    assert read_lines(path) == ["a", "b\u2028c"]
    with pytest.raises(InputError, match=r"row 1: expected an object with .'body'."):
        read_texts(path, columns=("body",))
    with pytest.raises(InputError, match="line 2: expected JSON"):
        read_texts(written(tmp_path, "y.jsonl", '{"text": "a"}\n{"text"\n'))


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl"])
def test_invalid_bytes_and_empty_files_are_told(tmp_path, name):
    """Replaced by a question mark nobody would know."""
    with pytest.raises(InputError, match=r"expected UTF-8, got byte 0xff at offset 6 \(line 2\)"):
        read_texts(written(tmp_path, name, b"hello\n\xff\n"))
    with pytest.raises(InputError, match="got an empty file"):
        read_texts(written(tmp_path, name, b" \n"))
    with pytest.raises(InputError, match="cannot read"):
        read_texts(tmp_path / f"no-{name}")


def test_what_does_not_fit_is_refused(tmp_path):
    """Nothing is guessed."""
    path = written(tmp_path, "x.txt", "a\n")
    with pytest.raises(InputError, match="expected texts of 5 to any number of characters, got none"):
        read_texts(path, min_chars=5)
    with pytest.raises(InputError, match=r"columns: a \.txt file has none"):
        read_texts(path, columns=(1,))
    with pytest.raises(InputError, match=r"expected \.txt, \.csv, \.tsv or \.jsonl, got '\.md'"):
        read_texts(written(tmp_path, "x.md", "a"))
    with pytest.raises(InputError, match="row 2: expected a score, got 'high'"):
        read_pairs(written(tmp_path, "p.csv", "a,b,1\nc,d,high\n"))


@pytest.mark.assets
@pytest.mark.skipif(not ASSETS.is_dir(), reason="no real texts here")
def test_the_real_sets_are_read_whole():
    """STS-B and SST-2 as they lie on disk."""
    first, second, gold = read_pairs(ASSETS / "stsb" / "stsb-en-dev.csv")
    assert len(first) == len(second) == len(gold) == 1500
    assert (min(gold), max(gold)) == (0.0, 5.0)
    labelled = list(read_table(ASSETS / "sst2" / "dev.tsv", (0, 1)))
    assert len(labelled) == 872
    assert {label for _, label in labelled} == {"0", "1"}
