"""`export` refuses from the card what the student cannot be written as."""

import pytest

from stillhouse.cli import early
from stillhouse.core.checks import InputError
from stillhouse.core.records import write_json
from stillhouse.families import FAMILIES, family, light


def student(folder, family_name, kind):
    write_json(folder / "card.json", {"family": family_name, "student": {"kind": kind}})
    return str(folder)


@pytest.mark.parametrize(
    ("family_name", "kind", "form", "has"),
    [
        ("clauses", "tsetlin-vit", "numpy", "parts, rules, onnx, torch"),
        ("images", "timm", "verilog", "onnx, torch"),
        ("embed", None, "packed", "numpy, onnx, torch"),
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


@pytest.mark.parametrize("name", FAMILIES)
def test_forms_of_the_card_are_those_of_the_command(name):
    """A form that is added to a family and forgotten here would be refused."""
    kinds = ["flat-tm", "tsetlin-vit"] if name == "clauses" else [None]
    said = {form for kind in kinds for form in light(name).forms({"student": {"kind": kind}})}
    assert said == set(family(name).exports())
