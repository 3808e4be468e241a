"""`stillhouse compare`: runs of one family side by side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError

ABOUT = "Runs of one family side by side: test scores with intervals, paired differences, cost, training time."
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
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one family, finished")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead of a table")
    parser.add_argument("--no-cost", action="store_true", help="do not load students to count what they cost")
    options = parser.parse(arguments)
    from stillhouse.families import family_at
    from stillhouse.report.runs import compare_runs, kinds_of, read_runs, write_comparison

    kinds = kinds_of(options.runs)
    if len(set(kinds)) > 1:
        named = ", ".join(f"{run}: {kind}" for run, kind in zip(options.runs, kinds))
        raise InputError(f"expected runs of one family, got {named}")
    family = family_at(options.runs[0])
    found = compare_runs(family, read_runs(family, options.runs, cost=not options.no_cost))
    if options.json:
        from stillhouse.core.records import as_json

        print(json.dumps(as_json(found), indent=2))
    else:
        _print(family, found)
    if options.out is not None:
        command = shlex.join(["stillhouse", "compare", *map(str, arguments)])
        page = write_comparison(family, found, options.out, command)
        if not options.json:
            print(f"page: {page}")
    return 0


def _print(family: Any, found: Mapping[str, Any]) -> None:
    """The first metric with its interval, the difference, the others' means, cost, time."""
    from rich.console import Console
    from rich.table import Table

    from stillhouse.report.runs import cost_kinds, difference_words
    from stillhouse.report.verdicts import Measure, shown
    from stillhouse.report.words import cost, plain

    rows = found["runs"]
    measures = [Measure.of(metric) for metric in family.metrics if any(metric.name in row["metrics"] for row in rows)]
    kinds = cost_kinds(rows)
    table = Table()
    heads = [head for n, m in enumerate(measures) for head in (m.label, *(["95 % interval"] if n == 0 else []))]
    for head in ("run", "seeds", *heads, *kinds.values(), "train s"):
        table.add_column(head)
    for row in rows:
        cells = [row["run"], str(len(row["seeds"]))]
        for place, measure in enumerate(measures):
            figures = row["metrics"].get(measure.name) or {}
            cells.append(shown(measure, figures.get("mean")))
            if place == 0:
                ends = [figures.get("low"), figures.get("high")]
                cells.append("" if None in ends else " to ".join(shown(measure, end) for end in ends))
        cells += [cost(kind, row["cost"].get(kind)) for kind in kinds]
        table.add_row(*cells, plain(row["seconds"]))
    console = Console(highlight=False)
    console.print(table)
    unit = f" ({measures[0].unit})" if measures[0].unit not in ("", measures[0].label) else ""
    for row in rows:
        if row["costless"]:
            console.print(f"{row['run']}: without its cost: {row['costless']}", markup=False, soft_wrap=True)
    for row in rows:
        for line in row["changed"]:
            console.print(f"{row['run']}: {line}", markup=False, soft_wrap=True)
    for row in rows[1:]:
        words = difference_words(measures[0], row)
        if row.get("difference") is None:
            console.print(f"{row['run']}: not paired with {rows[0]['run']}: {words}", markup=False, soft_wrap=True)
            continue
        count = len(row["paired_seeds"])
        seeds = f"{count} seed{'s' * (count != 1)}, {row['items']:,} items"
        note = f"; {row['why']}" if row["why"] else ""
        console.print(
            f"{row['run']} against {rows[0]['run']}, {measures[0].label}{unit}: {words} [{seeds}{note}]",
            markup=False,
            soft_wrap=True,
        )
