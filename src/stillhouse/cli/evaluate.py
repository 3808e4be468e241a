"""`stillhouse evaluate`: score a saved student of any family on the test split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser
from stillhouse.core.folder import student_folder
from stillhouse.families import family_at

EXAMPLES = """examples:
  stillhouse evaluate runs/demo                                         the student that the run ships
  stillhouse evaluate runs/demo/arms/kd/seed-0                          one of its trainings
  stillhouse evaluate runs/mnist --data-root DIR
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, score, print JSON."""
    parser = Parser(
        prog="stillhouse evaluate",
        description="Score a saved student on the test split of its run, or of other data.",
        epilog=EXAMPLES,
    )
    parser.add_argument("folder", type=Path, help="a run folder, or one with student.safetensors and card.json")
    parser.add_argument("--data", help="data set [the one of the run]")
    parser.add_argument("--data-root", help="where it lies [as in the run]")
    options = parser.parse(arguments)
    place = student_folder(options.folder)
    given = {"data": options.data, "data_root": options.data_root}
    choices = {name: value for name, value in given.items() if value is not None}
    print(json.dumps(family_at(place).evaluate(place, **choices)))
    return 0
