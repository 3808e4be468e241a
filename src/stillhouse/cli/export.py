"""`stillhouse export`: a trained student of any task in another form, checked against the network after it is written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError

TARGETS = ("hub", "packed", "c", "rules", "json", "onnx", "torch", "numpy", "python", "sql")
EPILOG = """forms, and the students that have them:
  hub      all: weights, card and README.md (verdict, licence, scores, hashes) as model hubs take them; nothing is sent
  onnx     images, clauses, embed: the network for onnxruntime; sar: one step of the stream
  torch    images, clauses, embed: the network for torch.export.load; sar, lm: lines, windows as long as the run's
  numpy    flat-tm, deep-tm, embed: a folder that needs numpy and nothing else
  packed   flat-tm, deep-tm: one file of bits and whole numbers; lm: of ternary weights
  c, json  flat-tm, deep-tm: C99, a table for other programs
  python   rules, scorecard: one file with predict(text) or predict(row) that needs Python alone; also c and json
  sql      rules, scorecard of a table: one SELECT
  rules    clauses, rules, scorecard, tree: a page, a text and JSON: what decides each class, and what it keeps alone

What is written is compared with the network on the test split; what answers otherwise is not kept.

examples:
  stillhouse export runs/demo --to rules
  stillhouse export runs/clauses --to c --out clauses.c
  stillhouse export runs/mine --to hub --license apache-2.0
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, write, check, print where."""
    parser = Parser(
        prog="stillhouse export",
        description="Write a trained student in another form, and check what was written.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, the folder of a student, or its card.json")
    parser.add_argument("--to", required=True, choices=TARGETS, metavar="FORM", help=", ".join(TARGETS))
    parser.add_argument("--out", type=Path, help="file or folder [export/ in the student's folder]")
    parser.add_argument("--data", help="data set of the check [the one of the run]")
    parser.add_argument("--data-root", metavar="DIR", help="where it lies [as in the run]")
    parser.add_argument("--license", metavar="NAME", help="hub: apache-2.0, mit, ... [of the run, else other]")
    options = parser.parse(arguments)
    from stillhouse.core.exports import ExportChoices, write_export
    from stillhouse.core.folder import student_folder
    from stillhouse.core.model_card import HUB, hub_target
    from stillhouse.tasks import task_at

    folder = student_folder(options.run.parent if options.run.is_file() else options.run)
    check_form(options.to, folder)  # from the card, before the seconds that torch takes
    task = task_at(folder)
    started = time.perf_counter()
    choices = ExportChoices(options.data, options.data_root, options.license)
    targets = {**task.exports(), HUB: hub_target(task)}
    place, lines = write_export(targets, options.to, folder, options.out, choices, task.kind)
    for line in lines:
        print(line)
    size = sum(file.stat().st_size for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file())
    print(f"{place}: {size:,} bytes, {time.perf_counter() - started:.1f} s")
    if options.to == HUB:
        print(f"nothing was sent; to push it: hf upload USER/NAME {place}   (older: huggingface-cli upload)")
    return 0


def check_form(form: str, folder: Path) -> None:
    """Refuse a form that no student of the kind on a card has.

    Raises:
        InputError: with the forms that there are.
    """
    from stillhouse.core.model_card import HUB
    from stillhouse.core.records import CARD, read_json
    from stillhouse.tasks import TASKS, light

    card = read_json(folder / CARD)
    if not isinstance(card, Mapping) or card.get("task") not in TASKS:
        return
    student, forms = card.get("student"), light(str(card["task"])).forms(card)
    kind = (student.get("kind") if isinstance(student, Mapping) else None) or card["task"]
    if forms is not None and form not in (*forms, HUB):
        raise InputError(f"--to {form}: a student of kind {kind} has no such form; it has {', '.join((*forms, HUB))}")
