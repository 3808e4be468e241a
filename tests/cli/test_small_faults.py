"""Messages and tables that a stranger stumbled over: one line that names the place, and nothing cut."""

import os
import signal
import sys
import time

import pytest
from rich.table import Table

from stillhouse.cli.main import main
from stillhouse.cli.show import print_table
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError
from stillhouse.core.manifest import list_files
from stillhouse.core.records import write_json
from stillhouse.recipes import load


def refused(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(str(file))
    return str(error.value)


def test_wrong_shapes_are_named_in_words_of_yaml(tmp_path):
    """YAML has lists and mappings; a 'valid tuple' is a word of Python, and [1] is not nothing."""
    assert refused(tmp_path, "signals: 3\n").startswith("signals: expected a valid")
    assert refused(tmp_path, "training: [1]\n").startswith("training: expected")
    assert refused(tmp_path, "student: [1]\n").startswith("student.kind: expected one of")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2\n", "expected ',' or ']'"),
        ("a: 1\n b: 2\n", "mapping values are not allowed here"),
        ("a: \x01\n", "position 3"),
        ("a: 1\na: 2\n", "key 'a' stands twice in the mapping of line 1"),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(tmp_path, text, words):
    """Several lines about `<unicode string>` named neither the file nor the fault first."""
    found = refused(tmp_path, text)
    assert found.startswith(f"{tmp_path / 'mine.yaml'} is not YAML: ")
    assert words in found
    assert "\n" not in found
    assert "<unicode string>" not in found


def test_tables_are_not_cut(capsys, monkeypatch):
    """At 80 columns, the width of a pipe, rich cuts the words of wide tables."""
    monkeypatch.setenv("COLUMNS", "80")
    words = [f"a-long-heading-{number}" for number in range(9)]
    table = Table(*words)
    table.add_row(*words)
    print_table(table)
    printed = capsys.readouterr().out
    assert all(printed.count(word) == 2 for word in words)


@pytest.mark.parametrize("kind", ["[x]", "{a: 1}", "3"])
def test_a_kind_that_is_no_word_is_named(kind, tmp_path, capsys):
    """A list as the kind of a student was a traceback: `unhashable type`; in a word, in a file, and in a space."""
    assert main(["distill", "digits", f"student.kind={kind}", "--print-config"]) == 2
    assert "student.kind: expected one of" in capsys.readouterr().err
    assert "student.kind: expected one of" in refused(tmp_path, f"student: {{kind: {kind}}}\n")


@pytest.mark.parametrize("name", ["rules.json", "student/card.json"])
def test_report_names_every_damaged_file(name, tmp_path, capsys):
    """The terminal was silent about those that only a section of the page reads."""
    write_json(tmp_path / "run.json", {"kind": "classification", "config": {"name": "x"}})
    write_json(tmp_path / name, {"rules": [], "classes": [], "content": 1})
    path = tmp_path / name
    list_files(tmp_path)
    path.write_text(path.read_text().replace('"content": 1', '"content": 2'))
    assert main(["report", str(tmp_path)]) == 0
    assert f"{path} was changed after it was written" in capsys.readouterr().err
    assert str(path) in (tmp_path / "report.html").read_text()


def test_sigterm_takes_away_what_is_half_written(tmp_path, monkeypatch, capsys):
    """An export that was asked to stop left a folder `.student.onnx.xxxxxxxx` behind."""

    def slow(arguments):
        try:
            (tmp_path / "half").write_text("")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            (tmp_path / "half").unlink()

    before = signal.getsignal(signal.SIGTERM)
    try:
        monkeypatch.setattr("stillhouse.cli.students.export", slow)
        monkeypatch.setattr(sys, "argv", ["stillhouse", "export", "x"])
        assert main() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "half").exists()
    assert "interrupted" in capsys.readouterr().err


def test_digits_lie_nowhere_else(tmp_path):
    """`evaluate RUN --data-root X` scored the bundled digits, without a word on X."""
    from stillhouse.tasks.classification.predict import data_of

    with pytest.raises(InputError, match="--data-root: digits are in the package"):
        data_of(tmp_path, "digits", "elsewhere")


def test_a_model_that_is_none_is_one_error(capsys):
    """Its settings, made up for it, were a second one."""
    assert main(["vision", "--models", "transfromer", "--print-config"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'transformer'?" in line


@pytest.mark.parametrize("kind", ["images", "clauses"])
def test_a_run_of_an_earlier_task_names_its_version(kind):
    """They are one task now; `not known` left its owner to guess."""
    from stillhouse.tasks import results

    with pytest.raises(InputError, match=f"'{kind}' is of stillhouse before 2026-11-23"):
        results(kind)
