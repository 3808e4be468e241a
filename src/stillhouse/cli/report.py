"""`stillhouse report`: the HTML page of a run folder, made again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser


def main(arguments: Sequence[str]) -> int:
    """Parse, write, print where."""
    parser = Parser(
        prog="stillhouse report",
        description="Write report.html, one self-contained page, from the files of a run folder; of a folder of several models "
        "(stillhouse vision) one page each. Files that are missing or were changed are named, on the page and on standard error; "
        "the page is made of the others, with status 0.",
        examples="""
  stillhouse report runs/demo
  stillhouse report runs/mine
  stillhouse compare runs/demo runs/mine --out compared.html
""",
    )
    parser.add_argument("folder", type=Path, help="run folder, for example runs/demo")
    options = parser.parse(arguments)
    from stillhouse.core import records
    from stillhouse.core.checks import InputError
    from stillhouse.report import write_page
    from stillhouse.tasks import light_at

    inside = sorted(path.parent for path in options.folder.glob(f"*/{records.RUN}"))
    for folder in inside or [options.folder]:
        if not (folder / records.RUN).is_file():
            raise InputError(f"{folder} is not a run folder: expected a {records.RUN} in it")
        faults: list[str] = []
        print(write_page(light_at(folder), folder, log=faults.append))
        for fault in faults:
            print(f"  {fault}", file=sys.stderr)
    return 0
