"""`stillhouse list`: what there is to choose from."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence

from stillhouse.cli.options import Parser
from stillhouse.core.config import kinds, settings
from stillhouse.recipes import known, known_teachers

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
    parser = Parser(
        prog="stillhouse list",
        description="Recipes, data sets, teachers, signals and students.",
        examples="""
  stillhouse list
  stillhouse distill mnist --help      the flags of a recipe
  stillhouse distill mnist --print-config
""",
    )
    parser.parse(arguments)
    from stillhouse.classification.data import DataConfig
    from stillhouse.classification.students import OrdinaryStudentConfig
    from stillhouse.families.clauses.students.kinds import ClauseStudentConfig
    from stillhouse.signals import SignalConfig
    from stillhouse.temperature import TemperatureConfig

    print("Minutes: all arms and seeds on two cores of an AMD EPYC without a GPU; a dash: not measured.\n")
    _recipes("recipes (stillhouse distill NAME)", {name: _first_line(recipe) for name, recipe in known().items()})
    teachers = {name: _first_line(recipe) for name, recipe in known_teachers().items()}
    _recipes("teacher recipes (stillhouse train-teacher NAME)", teachers)
    names = typing.get_args(settings(DataConfig)["name"].annotation)
    texts = (
        "texts",
        "labelled texts of a .csv, .tsv or .jsonl file, for students of kind text-transformer and spiking-text",
    )
    _section("data sets (--data-name)", [*((str(name), "") for name in names), texts])
    _section(
        "teachers (--teacher-source)",
        (
            ("builtin:digits", "a small network for the bundled digits, in the package"),
            ("timm:NAME", "any timm image model; the head is re-made for the data and fitted"),
            ("torchvision:NAME", "any torchvision classifier, likewise"),
            ("py:FILE.py:CLASS", "a network of your own file, with --teacher-checkpoint FILE"),
            ("ckpt:FILE", "a teacher saved by train-teacher, or a state dict whose keys are those of a known network;"),
            ("", "for others name it: --teacher-source timm:NAME --teacher-checkpoint FILE"),
            ("run:FOLDER", "the student that a run ships, as the teacher of the next one"),
            ("self:average", "the moving average of the student itself"),
        ),
    )
    _section("signals (signals: [{kind: ...}])", map(_kind, kinds(SignalConfig).values()))
    _section("temperatures (temperature: {kind: ...} in a signal)", map(_kind, kinds(TemperatureConfig).values()))
    students = {**kinds(ClauseStudentConfig), **kinds(OrdinaryStudentConfig)}
    _section("students (student: {kind: ...})", map(_kind, students.values()))
    return 0


def _kind(config: type) -> tuple[str, str]:
    return str(settings(config)["kind"].default), _first_line(config)


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]


def _recipes(title: str, recipes: Mapping[str, str]) -> None:
    _section(
        f"{title}: minutes", ((f"{name:<{NAMED}} {MEASURED.get(name, '-'):>5}", text) for name, text in recipes.items())
    )


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
