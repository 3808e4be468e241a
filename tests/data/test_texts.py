"""Text files into sentences: formats of real sets, damaged bytes, nothing shifted."""

import os
from pathlib import Path

import pytest

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.texts import gather, parse_source, read_lines, read_table

ASSETS = Path(os.environ.get("STILLHOUSE_ASSETS", Path(__file__).parents[2].parent / "shared" / "assets")) / "text"


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def texts(*sources, **choices):
    return gather(sources, **choices)[0]


def test_lines_are_stripped_limited_and_kept_once(tmp_path):
    """Twins of a text would fall on two sides of a split."""
    path = written(tmp_path, "x.txt", "\ufeff one  two \r\n\nthree\none two\nfour five six\n")
    assert texts(path) == ["one two", "three", "four five six"]
    assert texts(path, min_chars=6, max_chars=8) == ["one two"]
    assert texts(path, limit=2) == ["one two", "three"]


def test_texts_of_several_files_are_taken_once(tmp_path):
    """Case and white space make no other text: a lower-case model would see it again in the test split."""
    (tmp_path / "more").mkdir()
    sources = (
        written(tmp_path, "a.txt", "One text.\nTwo  texts.\n"),
        written(tmp_path, "b.csv", '"ONE TEXT.",Three.\n') + ":0,1",
        written(tmp_path / "more", "a.txt", "Four.\n"),
    )
    found, names = gather(sources)
    assert found == ["One text.", "Two texts.", "Three.", "Four."]
    assert names == [f"{tmp_path.name}/a", f"{tmp_path.name}/a", "b", "more/a"]


def test_columns_and_fields_by_name_and_number(tmp_path):
    """A header taken for a text, or a text for a header; a path with a colon that is there is taken as it stands."""
    table = written(tmp_path, "x.csv", "id,body\n1,hello\n2,bye\n")
    assert texts(f"{table}:body") == ["hello", "bye"]
    assert texts(f"{table}:0") == ["id", "1", "2"]
    assert list(read_table(written(tmp_path, "x.tsv", 'a "b\t1\n'), (0, 1))) == [('a "b', "1")]
    lines = written(tmp_path, "x.jsonl", '{"text": "a", "title": "t"}\n\n{"text": "b\\u2028c", "title": "u"}\n')
    assert (texts(lines), texts(f"{lines}:title")) == (["a", "b c"], ["t", "u"])
    assert read_lines(Path(lines)) == ["a", "b\u2028c"]
    (tmp_path / "odd:0").mkdir()
    assert parse_source(str(tmp_path / "odd:0"))[1] == ()
    assert parse_source("t.csv:first,2")[1] == ("first", 2)


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("x.txt", b"hello\n\xff\n", "", r"expected UTF-8, got byte 0xff in line 2"),
        ("x.csv", b" \n", "", "got an empty file"),
        ("x.txt", "a\n", "", "expected texts of 5 to any number of characters, got none"),
        ("x.md", "a long text", "", r"expected \.txt, \.csv, \.tsv or \.jsonl, got '\.md'"),
        ("x.csv", "id,body\n1,hello\n", ":bodi", "no column 'bodi' in the header; did you mean 'body'"),
        ("x.csv", "id,body\n1,hello\n", ":4", r"row 1: expected \[4\], got \['id', 'body'\]"),
        ("x.jsonl", '{"text": "a"}\n', ":body", r"row 1: expected \['body'\]"),
        ("x.jsonl", '{"text": "aaaaaa"}\n{"text"\n', "", "line 2: expected JSON"),
        ("x.csv", "a\n", ":", "expected PATH:COLUMNS"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, text, columns, message):
    """Nothing is guessed: replaced by a question mark, nobody would know."""
    with pytest.raises(InputError, match=message):
        texts(written(tmp_path, name, text) + columns, min_chars=5)


@pytest.mark.assets
@pytest.mark.skipif(not ASSETS.is_dir(), reason="no real texts here")
def test_the_real_sets_are_read_whole():
    """STS-B and SST-2 as they lie on disk."""
    gold = [float(score) for _, _, score in read_table(ASSETS / "stsb" / "stsb-en-dev.csv", (0, 1, 2))]
    assert (len(gold), min(gold), max(gold)) == (1500, 0.0, 5.0)
    labelled = list(read_table(ASSETS / "sst2" / "dev.tsv", (0, 1)))
    assert (len(labelled), {label for _, label in labelled}) == (872, {"0", "1"})
