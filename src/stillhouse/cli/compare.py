"""`stillhouse compare`: runs that are scored alike side by side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError

ABOUT = "Runs that are scored alike side by side: test scores with intervals, paired differences, cost, training time."
USAGE = "stillhouse compare RUN RUN... [--out page.html] [--json]"
EPILOG = """Each run stands for the arm that it ships. Scores are those of its test split, with a 95 % interval over seeds and
items. The difference from the first run is paired by test item and by seed; where two runs were not tested on the same items
(by their hashes), or share no seed, it is left out and the reason is given. Anyone else's runs: stillhouse verify.

examples:
  stillhouse compare runs/digits runs/longer
  stillhouse compare runs/a runs/b runs/c --out compared.html
  stillhouse compare runs/sweep/best runs/digits --json
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, read, print a table, write the page."""
    parser = Parser(prog="stillhouse compare", usage=USAGE, description=ABOUT, epilog=EPILOG)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="finished run folders, of one task or both of classes"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead of a table")
    parser.add_argument("--no-cost", action="store_true", help="do not load students to count what they cost")
    options = parser.parse(arguments)
    if options.out is not None:
        from stillhouse.core.outputs import check_output

        check_output(options.out, suffixes=(".html",))
    from stillhouse.core.finished import check_finished
    from stillhouse.core.records import RUN

    for run in options.runs:  # not after the seconds that pages take to import
        if not (run / RUN).is_file():
            raise InputError(f"{run} is not a run folder: expected a {RUN} in it")
        check_finished(run)
    from stillhouse.report.runs import compare_runs, kinds_of, read_runs, write_comparison
    from stillhouse.tasks import light, light_at, task_at

    kinds = kinds_of(options.runs)
    if len(set(kinds)) > 1 and any(light(kind).metrics is not light(kinds[0]).metrics for kind in kinds):
        named = ", ".join(f"{run}: {kind}" for run, kind in zip(options.runs, kinds))
        raise InputError(
            f"expected runs that are scored alike, got {named}; scores of the same items from anywhere are compared by "
            "`stillhouse verify`"
        )
    # what students cost is counted in torch; everything else is in files
    opened = light_at if options.no_cost or find_spec("torch") is None else task_at
    tasks = [opened(run) for run in options.runs]
    task = tasks[0]
    found = compare_runs(task, read_runs(task, options.runs, cost=not options.no_cost, each=tasks))
    if options.json:
        from stillhouse.core.records import as_json

        print(json.dumps(as_json(found), indent=2))
    else:
        _print(task, found)
    if options.out is not None:
        command = shlex.join(["stillhouse", "compare", *map(str, arguments)])
        page = write_comparison(task, found, options.out, command)
        if not options.json:
            print(f"page: {page}")
    return 0


def _print(task: Any, found: Mapping[str, Any]) -> None:
    """The tables of the page and what cannot be said, in text."""
    from rich.console import Console
    from rich.table import Table

    from stillhouse.cli.show import print_table
    from stillhouse.report.runs import remarks, tables

    console = Console(highlight=False)
    for block in tables(task, found):
        made = Table(
            *block.head, title=block.title, caption=block.caption, title_justify="left", caption_justify="left"
        )
        for row in block.rows:
            made.add_row(*(x if isinstance(x, str) else "\n".join(filter(None, (x.text, x.under))) for x in row))
        print_table(made)
    for run, text in remarks(found["runs"]):
        console.print(f"{run}: {text}", markup=False, soft_wrap=True)
