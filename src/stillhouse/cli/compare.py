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
        "runs", nargs="+", type=Path, metavar="RUN", help="finished run folders, of one family or both of classes"
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
    from stillhouse.families import family_at, light, light_at
    from stillhouse.report.runs import compare_runs, kinds_of, read_runs, write_comparison

    kinds = kinds_of(options.runs)
    if len(set(kinds)) > 1 and any(light(kind).metrics is not light(kinds[0]).metrics for kind in kinds):
        named = ", ".join(f"{run}: {kind}" for run, kind in zip(options.runs, kinds))
        raise InputError(
            f"expected runs that are scored alike, got {named}; scores of the same items from anywhere are compared by "
            "`stillhouse verify`"
        )
    # what students cost is counted in torch; everything else is in files
    opened = light_at if options.no_cost or find_spec("torch") is None else family_at
    families = [opened(run) for run in options.runs]
    family = families[0]
    found = compare_runs(family, read_runs(family, options.runs, cost=not options.no_cost, each=families))
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


def _table(names: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print a figure a line and a run a column."""
    from rich.table import Table

    from stillhouse.cli.show import print_table

    made = Table("", *names)
    for label, cells in lines:
        made.add_row(label, *cells)
    print_table(made)


def _print(family: Any, found: Mapping[str, Any]) -> None:
    """The first metric with its interval, the difference, the others' means, cost, time."""
    from rich.console import Console

    from stillhouse.core.verdict import untested
    from stillhouse.report.runs import MOST_SETTINGS, cost_kinds, difference_words, setting_words
    from stillhouse.report.verdicts import shown, spread_words
    from stillhouse.report.words import cost, plain

    rows = found["runs"]
    measures = [metric for metric in family.metrics if any(metric.name in row["metrics"] for row in rows)]
    kinds = cost_kinds(rows)
    lines: list[tuple[str, list[str]]] = [("seeds", [str(len(row["seeds"])) for row in rows])]
    for place, measure in enumerate(measures):
        figures = [row["metrics"].get(measure.name) or {} for row in rows]
        lines.append((measure.label, [shown(measure, one.get("mean")) for one in figures]))
        if place == 0:
            few = [len(one.get("values") or []) > 1 and bool(untested(len(one["values"]))) for one in figures]
            words = "each seed" if all(few) else "95 % interval, or each seed" if any(few) else "95 % interval"
            lines.append((words, [spread_words(measure, one) for one in figures]))
    lines += [(words, [cost(kind, row["cost"].get(kind)) for row in rows]) for kind, words in kinds.items()]
    lines.append(("training, s", [plain(row["seconds"]) for row in rows]))
    console = Console(highlight=False)
    _table([row["run"] for row in rows], lines)
    settings = [(key, [setting_words(value) for value in values]) for key, values in found["settings"].items()]
    if settings:
        console.print("settings that differ:")
        _table([row["run"] for row in rows], settings[:MOST_SETTINGS])
    if len(settings) > MOST_SETTINGS:
        console.print(f"and {len(settings) - MOST_SETTINGS} more settings, which --json and the page of --out have")
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
        console.print(
            f"{row['run']} against {rows[0]['run']}, {measures[0].label}{unit}: {words} [{seeds}]",
            markup=False,
            soft_wrap=True,
        )
