"""`stillhouse demo`: the recipe `digits`, from the pretrained teacher in the package to a verdict, offline."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.distill import distill
from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError


def main(arguments: Sequence[str]) -> int:
    """Parse and run."""
    parser = Parser(
        prog="stillhouse demo",
        description="Distil a clause student on bundled digits: 3 arms, 3 seeds, a verdict.",
        examples="""
  stillhouse demo
  stillhouse demo --seeds 1 --out runs/quick
  stillhouse report runs/demo
""",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="run folder; an older demo there is replaced [runs/demo]"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each arm [3]")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse(arguments)
    from stillhouse.core.records import ABOUT, RUN, read_object
    from stillhouse.recipes import load_run

    config = load_run("digits", ["name=demo", f"seeds={options.seeds}"])
    if (options.out / RUN).is_file():
        name = read_object(options.out / RUN, ABOUT)["config"].get("name")
        if name != "demo":
            raise InputError(f"{options.out} holds the run {name!r}, expected an older demo; choose another --out")
        shutil.rmtree(options.out)
    distill(config, options.out, resume=False, force=False, quiet=options.quiet)
    return 0
