"""`export` refuses from the card what the student cannot be written as."""

import pytest

from stillhouse.cli import early
from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.core.records import write_json
from stillhouse.families import FAMILIES, family, light


def student(folder, family_name, kind):
    write_json(folder / "card.json", {"family": family_name, "student": {"kind": kind}})
    return str(folder)


@pytest.mark.parametrize(
    ("family_name", "kind", "form", "has"),
    [
        ("clauses", "tsetlin-vit", "numpy", "rules, onnx, torch, hub"),
        ("images", "timm", "json", "onnx, torch, hub"),
        ("embed", None, "packed", "numpy, onnx, torch, hub"),
    ],
)
def test_a_form_that_the_student_lacks_is_refused_from_its_card(tmp_path, family_name, kind, form, has):
    """Eighteen seconds of imports and loading for what the card says."""
    with pytest.raises(InputError, match=f"--to {form}: a student of kind .* has no such form; it has {has}$"):
        early.look(["export", student(tmp_path, family_name, kind), "--to", form])


@pytest.mark.parametrize("words", [["--to", "numpy"], ["--to=c", "--out", "x"], ["--to", "rules"], []])
def test_what_the_student_may_have_is_left_to_the_command(tmp_path, words):
    """Whether its options allow it is known only when it is loaded."""
    early.look(["export", student(tmp_path, "clauses", "flat-tm"), *words])
    early.look(["export", str(tmp_path / "nothing there"), *words])


def test_a_word_that_is_no_form_is_left_to_the_command(tmp_path, monkeypatch, capsys):
    """With a demo's run in the working directory the answer was another than without, and left out `hub`."""
    monkeypatch.chdir(tmp_path)
    words = ["export", "runs/demo", "--to", "paper"]
    status, without = main(words), capsys.readouterr().err
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    student(tmp_path / "runs" / "demo", "clauses", "tsetlin-vit")
    assert (main(words), capsys.readouterr().err) == (status, without)
    assert "'hub'" in without


@pytest.mark.parametrize("name", FAMILIES)
def test_forms_of_the_card_are_those_of_the_command(name):
    """A form that is added to a family and forgotten here would be refused."""
    kinds = ["flat-tm", "tsetlin-vit"] if name == "clauses" else [None]
    said = {form for kind in kinds for form in light(name).forms({"student": {"kind": kind}})}
    assert said == set(family(name).exports())
