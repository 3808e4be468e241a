"""`train-teacher` of every task that trains one: what was trained is graded as a run would, and said to be usable if it is."""

from __future__ import annotations

import pytest
import yaml

from stillhouse.cli.main import main
from stillhouse.core.config import to_mapping
from stillhouse.core.records import read_json


def teacher_words(case, tmp_path, **training):
    """The case's teacher again, trained otherwise: a command line."""
    if case.kind == "lm":
        from stillhouse.recipes import load_teacher_run

        about = read_json(case.root / "teacher" / "run.json")["config"]
        plain = to_mapping(load_teacher_run("wikitext-2-teacher", ()))
        config = {**plain, **about}
    else:
        config = yaml.safe_load((case.root / "teacher.yaml").read_text())
    config["training"] = {**config["training"], **training}
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(config))
    return ["train-teacher", str(tmp_path / "teacher.yaml"), "--out", str(tmp_path / "teacher"), "--quiet"]


@pytest.mark.parametrize("kind", ["images", "lm"])
def test_a_teacher_at_chance_is_not_recommended(kind, case_of, tmp_path, capsys):
    """`use it as teacher.source` was printed whatever came out; tests/sar asks the same of radar."""
    case = case_of(kind)
    words = teacher_words(case, tmp_path, epochs=1, learning_rate=1e-9, final_learning_rate=1e-9)
    capsys.readouterr()
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "use it as" not in text
    assert text.splitlines()[-1].startswith("at chance: ")
    assert main([*words, "--resume"]) == 0  # finished: the same words, from its files
    again = capsys.readouterr().out
    assert again.splitlines()[-1] == text.splitlines()[-1]


def test_a_good_one_is(case_of, tmp_path, capsys):
    """With the words that name it."""
    case = case_of("images")
    words = [
        "train-teacher",
        str(case.root / "teacher.yaml"),
        "--out",
        str(case.root / "teacher"),
        "--quiet",
        "--resume",
    ]
    how = f"teacher.source=ckpt:{case.checkpoint}"
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"use it as {how}"


def test_a_poor_one_is_said_to_be_poor(case_of, tmp_path, capsys, monkeypatch):
    """Better than guessing, and behind a model that nobody taught."""
    from stillhouse.tasks.classification import teachers

    monkeypatch.setattr(teachers, "baseline_score", lambda data: 1.01)
    assert main(teacher_words(case_of("images"), tmp_path)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("a poor teacher: ")
    assert "teacher.source=ckpt:" in last
