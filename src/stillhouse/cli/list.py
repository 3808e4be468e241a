"""`stillhouse list`: what there is to choose from."""

from __future__ import annotations

import ast
import textwrap
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from stillhouse.cli.options import Parser, help_texts

PACKAGE = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> int:
    """Parse and print."""
    Parser("list").parse(arguments)
    from stillhouse.core.config import settings
    from stillhouse.tasks.classification.data.config import DataConfig

    shown = help_texts()["shown"]
    names = map(str, typing.get_args(settings(DataConfig)["name"].annotation))
    sections = {
        "recipes (stillhouse distill NAME)": recipes("RECIPES"),
        "teacher recipes (stillhouse train-teacher NAME)": recipes("TEACHER_RECIPES"),
        "data sets (data.name=NAME)": {**dict.fromkeys(names, ""), **shown["data"]},
        "teachers (teacher.source=...)": shown["teachers"],
        "signals (signals: [{kind: ...}])": describe_configs("signals"),
        "temperatures (temperature: {kind: ...} in a signal)": describe_configs("temperature", ""),
        "students (student.kind=...)": describe_configs("tasks/classification/students"),
    }
    for title, rows in sections.items():
        width = 2 + max(map(len, rows))
        blank = " " * (2 + width)
        print(title)
        for name, text in rows.items():
            print(textwrap.fill(f"  {name:<{width}}{text}", 102, subsequent_indent=blank, break_on_hyphens=False))
        print()
    return 0


def describe_configs(room: str, ends: str = "Config") -> dict[str, str]:
    """Kind -> first line of every configuration of a room, read from its source: to import it would import torch.

    Args:
        room: folder in the package.
        ends: how names of the classes end that are meant.

    Example:
        >>> sorted(describe_configs("temperature", ""))
        ['fixed', 'learned', 'scheduled']
    """
    listed: dict[str, str] = {}
    for path in sorted([*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).rglob("*.py")]):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(ends):
                kinds = [
                    str(field.value.value)
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and isinstance(field.value, ast.Constant)
                    if ast.unparse(field.target) == "kind"
                ]
                listed |= dict.fromkeys(kinds, (ast.get_docstring(node) or "").partition("\n")[0])
    return listed


def recipes(table: str) -> Mapping[str, str]:
    """Recipe -> its first line, of every task."""
    from stillhouse.tasks import TASKS

    listed: dict[str, str] = {}
    for kind in TASKS:
        room = PACKAGE / "tasks" / kind / "recipes" / ("teachers" if table == "TEACHER_RECIPES" else "")
        for file in sorted(room.glob("*.yaml")):
            listed[file.stem] = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return listed
