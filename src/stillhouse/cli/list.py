"""`stillhouse list`: what there is to choose from."""

from __future__ import annotations

import ast
import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser

PACKAGE = Path(__file__).parents[1]
EXAMPLES = """
  stillhouse list
  stillhouse distill mnist --print-config      every setting of a recipe
"""
ROWS = (
    ("words", "texts of a .csv, .tsv, .jsonl or .parquet file, for rules, scorecard, tree and tf-idf"),
    ("table", "numbers and categories of such a file, for the same students"),
    ("texts", "labelled texts of such a file, for students of kind text-transformer and spiking-text"),
)
TEACHERS = (
    ("builtin:digits", "a small network for the bundled digits, in the package"),
    ("timm:NAME", "any timm image model; the head is re-made for the data and fitted"),
    ("torchvision:NAME", "any torchvision classifier, likewise"),
    ("py:FILE.py:CLASS", "a network of your own file, with teacher.checkpoint=FILE"),
    ("ckpt:FILE", "a teacher saved by train-teacher, or a state dict whose keys are those of a known network;"),
    ("", "for others name it: teacher.source=timm:NAME teacher.checkpoint=FILE"),
    ("run:FOLDER", "the student that a run ships, as the teacher of the next one"),
    ("encoder:NAME", "a sentence encoder, by name or folder, with a head fitted to the labels of each seed"),
    ("vectors:FILE", "a vector a row from any encoder (.npy, .npz), likewise"),
    ("sklearn:NAME", "a classifier of scikit-learn, fitted to the labels of each seed"),
    ("predictions:FILE", "answers of any model as a .csv: probabilities or labels"),
    ("cache:FOLDER", "answers that `stillhouse cache` kept"),
    ("self:average", "the moving average of the student itself"),
)
WIDTH, NAMED = 100, 31  # columns: of a line, of the longest name
MEASURED = {
    "digits-timm": "1",
    "digits": "2",
    "mnist": "47",
    "mnist-documented": "18",
    "mnist-flat": "hours",
    "tiny-shakespeare": "2",
    "tiny-shakespeare-teacher": "2",
    "wikitext-2": "hours",
    "wikitext-2-counts": "hours",
    "embedding-fast": "1",
    "digits-teacher": "1",
}
"""Minutes of a recipe as it ships, rounded up, from benchmarks/results/processes.md."""


def main(arguments: Sequence[str]) -> int:
    """Parse and print."""
    about = "Recipes, data sets, teachers, signals and students."
    Parser(prog="stillhouse list", description=about, examples=EXAMPLES).parse(arguments)
    print("Minutes: all arms and seeds on two cores of an AMD EPYC without a GPU; a dash: not measured.\n")
    _recipes("recipes (stillhouse distill NAME)", recipes("RECIPES"))
    _recipes("teacher recipes (stillhouse train-teacher NAME)", recipes("TEACHER_RECIPES"))
    from stillhouse.core.config import settings
    from stillhouse.tasks.classification.data import DataConfig

    names = typing.get_args(settings(DataConfig)["name"].annotation)
    _section("data sets (data.name=NAME)", [*((str(name), "") for name in names), *ROWS])
    _section("teachers (teacher.source=...)", TEACHERS)
    _section("signals (signals: [{kind: ...}])", described("signals").items())
    _section("temperatures (temperature: {kind: ...} in a signal)", described("temperature", "").items())
    _section(
        "students (student.kind=...)",
        described("tasks/classification/students").items(),
    )
    return 0


def described(room: str, ends: str = "Config") -> dict[str, str]:
    """Kind -> first line of every configuration of a room, read from its source: to import it would import torch.

    Args:
        room: folder in the package.
        ends: how names of the classes end that are meant.

    Example:
        >>> sorted(described("temperature", ""))
        ['entropy', 'fixed', 'learned', 'scheduled']
    """
    found: dict[str, str] = {}
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(ends):
                kinds = [
                    field.value.value
                    for field in node.body
                    if isinstance(field, ast.AnnAssign)
                    and ast.unparse(field.target) == "kind"
                    and isinstance(field.value, ast.Constant)
                ]
                found |= {str(kind): _first_line(ast.get_docstring(node)) for kind in kinds}
    return found


def recipes(table: str) -> dict[str, str]:
    """Recipe -> first line, from the tables of that name in every task's `recipes`; read, as above."""
    from stillhouse.tasks import TASKS

    found: dict[str, str] = {}
    for kind in TASKS:
        file = PACKAGE / "tasks" / kind / "recipes.py"
        if not file.is_file():  # YAML files, whose first line says what they are
            folder = file.with_suffix("") / ("teachers" if table == "TEACHER_RECIPES" else "")
            files = sorted(folder.glob("*.yaml"))
            found |= {f.stem: f.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for f in files}
            continue
        body = ast.parse(file.read_text(encoding="utf-8")).body
        named: dict[str, Any] = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
        for node in body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                named[ast.unparse(target)] = node.value
        rows = named.get(table, ast.Dict([], []))
        for key, value in zip(rows.keys, rows.values, strict=True):
            name = key if isinstance(key, ast.Constant) else named[key.id]
            found[str(name.value)] = _first_line(ast.get_docstring(named[value.id]))
    return found


def _first_line(documented: str | None) -> str:
    return next(iter((documented or "").strip().splitlines()), "")


def _recipes(title: str, found: Mapping[str, str]) -> None:
    rows = ((f"{name:<{NAMED}} {MEASURED.get(name, '-'):>5}", text) for name, text in found.items())
    _section(f"{title}: minutes", rows)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    entries = list(rows)
    width = max(len(name) for name, _ in entries)
    print(title)
    for name, text in entries:
        first = f"  {name:<{width}}  "
        print(
            textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first)).rstrip()
            or first.rstrip()
        )
    print()
