"""`stillhouse list`: what there is to choose from."""

from __future__ import annotations

import ast
import textwrap
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from stillhouse.cli.options import Parser

PACKAGE = Path(__file__).parents[1]
DATA = {
    "words": "texts of a .csv, .tsv, .jsonl or .parquet file, for rules, scorecard, tree and tf-idf",
    "table": "numbers and categories of such a file, for the same students",
    "texts": "labelled texts of such a file, for students of kind text-transformer and spiking-text",
}
TEACHERS = {
    "builtin:digits": "a small network for the bundled digits, in the package",
    "timm:NAME": "any timm image model; the head is re-made for the data and fitted",
    "torchvision:NAME": "any torchvision classifier, likewise",
    "py:FILE.py:CLASS": "a network of your own file, with teacher.checkpoint=FILE",
    "ckpt:FILE": "a teacher saved by train-teacher, or a state dict whose keys are those of a known network",
    "run:FOLDER": "the student that a run ships, as the teacher of the next one",
    "encoder:NAME": "a sentence encoder, by name or folder, with a head fitted to the labels of each seed",
    "vectors:FILE": "a vector a row from any encoder (.npy, .npz), likewise",
    "sklearn:NAME": "a classifier of scikit-learn, fitted to the labels of each seed",
    "predictions:FILE": "answers of any model as a .csv: probabilities or labels",
    "cache:FOLDER": "answers that `stillhouse cache` kept",
    "self:average": "the moving average of the student itself",
}


def main(arguments: Sequence[str]) -> int:
    """Parse and print."""
    Parser("list").parse(arguments)
    from stillhouse.core.config import settings
    from stillhouse.tasks.classification.data import DataConfig

    data = dict.fromkeys(map(str, typing.get_args(settings(DataConfig)["name"].annotation)), "")
    sections = {
        "recipes (stillhouse distill NAME)": recipes("RECIPES"),
        "teacher recipes (stillhouse train-teacher NAME)": recipes("TEACHER_RECIPES"),
        "data sets (data.name=NAME)": {**data, **DATA},
        "teachers (teacher.source=...)": TEACHERS,
        "signals (signals: [{kind: ...}])": described("signals"),
        "temperatures (temperature: {kind: ...} in a signal)": described("temperature", ""),
        "students (student.kind=...)": described("tasks/classification/students"),
    }
    for title, rows in sections.items():
        print(title)
        width = 2 + max(map(len, rows))
        for name, text in rows.items():
            lines = textwrap.wrap(text, 100 - width) or [""]
            print(
                textwrap.indent("\n".join([f"{name:<{width}}{lines[0]}", *(" " * width + x for x in lines[1:])]), "  ")
            )
        print()
    return 0


def described(room: str, ends: str = "Config") -> dict[str, str]:
    """Kind -> first line of every configuration of a room, read from its source: to import it would import torch.

    Args:
        room: folder in the package.
        ends: how names of the classes end that are meant.

    Example:
        >>> sorted(described("temperature", ""))
        ['fixed', 'learned', 'scheduled']
    """
    found: dict[str, str] = {}
    for path in sorted([*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).rglob("*.py")]):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(ends):
                kinds = [
                    str(field.value.value)
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and isinstance(field.value, ast.Constant)
                    if ast.unparse(field.target) == "kind"
                ]
                found |= dict.fromkeys(kinds, (ast.get_docstring(node) or "").partition("\n")[0])
    return found


def recipes(table: str) -> Mapping[str, str]:
    """Recipe -> its first line, of every task."""
    from stillhouse.tasks import TASKS

    found: dict[str, str] = {}
    for kind in TASKS:
        room = PACKAGE / "tasks" / kind / "recipes" / ("teachers" if table == "TEACHER_RECIPES" else "")
        for file in sorted(room.glob("*.yaml")):
            found[file.stem] = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return found
