"""`--out`: a page or an export never takes the place of what a run, a student, a cache or a sweep is made of."""

import pytest

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.exports import ExportChoices, Target, write_export
from stillhouse.core.records import check_output, write_json


@pytest.fixture
def run(tmp_path):
    """A finished run with a student, and what its user put beside."""
    out = tmp_path / "run"
    (out / "student" / "export").mkdir(parents=True)
    for name in (
        "student/student.safetensors",
        "rules.txt",
        "report.html",
        "compared.html",
        "student/export/student.c",
    ):
        (out / name).write_text("content")
    write_json(out / "student" / "card.json", {"sha256": {"student.safetensors": "", "card.json": ""}})
    write_json(out / "run.json", {"config": {"name": "mine"}})
    write_json(out / "summary.json", {})
    names = ("run.json", "rules.txt", "student/student.safetensors")
    write_json(out / "manifest.json", {"files": dict.fromkeys(names, "")})
    return out


@pytest.mark.parametrize("name", ["student/student.safetensors", "student/card.json", "rules.txt", "report.html"])
def test_a_file_of_a_run_is_not_written_over(run, name):
    """The weights became a page, with status 0."""
    with pytest.raises(InputError, match="it is a file of"):
        check_output(run / name)


def test_every_command_looks_before_it_writes(run, tmp_path, capsys):
    """The check is of no use to a command that does not call it."""
    (tmp_path / "x.csv").write_text("a")
    before, csv = (run / "rules.txt").read_text(), str(tmp_path / "x.csv")
    for words in (
        ["compare", str(run), str(run), "--out", str(run / "report.html")],
        ["predict", str(run), csv, "--out", csv],
        ["embed", "explore", str(run), "--out", str(run / "report.html")],
    ):
        assert main(words) == 2, words
        assert "choose another --out" in capsys.readouterr().err, words
    assert (run / "rules.txt").read_text() == before
    assert (run / "run.json").is_file()
    assert main(["compare", str(run), str(run), "--out", "x.yaml"]) == 2
    assert "expected a name that ends in .html" in capsys.readouterr().err
    target = Target("C", ".c", lambda folder, out, choices: [out.write_text("other")])
    with pytest.raises(InputError, match="it is a file of"):
        write_export({"c": target}, "c", run / "student", run / "rules.txt", ExportChoices(), "classification")
