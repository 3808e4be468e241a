"""`stillhouse distill RECIPE|FILE.yaml`: a whole run, from the teacher's check to the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stillhouse.classification.lint import lint
from stillhouse.classification.plan import RunConfig
from stillhouse.cli.options import Parser, print_config, read_config
from stillhouse.recipes import load_run

EXAMPLES = """examples:
  stillhouse distill digits                                   a shipped recipe, results in runs/digits
  stillhouse distill digits --epochs 60 --seeds 5 --out runs/longer
  stillhouse distill digits --student-clauses 256 --signals-0-temperature 4
  stillhouse distill mine.yaml --set teacher.source=timm:resnet18
  stillhouse distill mnist --data-root DIR --resume           go on after a kill

a starter file:
  data: {name: mnist}
  teacher: {source: "timm:resnet18"}
  student: {kind: tsetlin-vit, embed_dim: 64, depth: 2, heads: 4}
  signals: [{kind: logits, loss: forward-kl, temperature: 2.0}]
  training: {epochs: 5}
  arms: [kd, no-kd, clauses-off]
  seeds: 3
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, run, print the verdict."""
    parser = Parser(
        prog="stillhouse distill",
        description="Distil a teacher into a student and say whether it helped.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--out", type=Path, help="run folder [runs/NAME]")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder; finished arms are kept"
    )
    parser.add_argument("--force", action="store_true", help="train although the teacher is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, config = read_config(parser, arguments, load_run, "digits")
    if options.print_config:
        print_config(config)
        for line in lint(config):
            print(f"without effect: {line}", file=sys.stderr)
        return 0
    distill(
        config,
        options.out or Path("runs") / config.name,
        resume=options.resume,
        force=options.force,
        quiet=options.quiet,
    )
    return 0


def distill(config: RunConfig, out: Path, *, resume: bool, force: bool, quiet: bool) -> None:
    """Run with progress bars, then print the table of arms and the verdict."""
    from stillhouse.classification.run import run
    from stillhouse.cli.show import RunDisplay, print_summary

    with RunDisplay(len(config.arms) * config.seeds, quiet=quiet or not sys.stdout.isatty()) as display:
        summary = run(config, out, resume=resume, force=force, say=display.say, on_progress=display.on_progress)
    print_summary(summary, out)
