"""`stillhouse distill RECIPE|FILE.yaml`: a whole run of any task, from the teacher's check to the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import RUNS, Parser, add_run_options, print_config, read_config

EXAMPLES = """
  stillhouse distill digits --epochs 60 --seeds 5 --out runs/longer
  stillhouse distill mine.yaml teacher.source=timm:resnet18 student.kind=flat-tm
  stillhouse distill mnist data.root=DIR --resume             continue after a stop
"""
MORE = """a starter file:
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
    about = "Distil a teacher into a student and measure whether it helped."
    parser = Parser(prog="stillhouse distill", description=about, examples=EXAMPLES, epilog=MORE)
    add_run_options(parser)
    options, config = read_config(parser, arguments, "load_run", aliases=RUNS)
    return run_or_print(options, config)


def run_or_print(options: Any, config: Any) -> int:
    """Carry out a run as the options of the command line say, or print its configuration."""
    from stillhouse.core.records import run_place

    if options.print_config:
        print_config(config)
        return 0
    out = run_place(options.out, config.name)
    distill(config, out, resume=options.resume, force=options.force, quiet=options.quiet)
    return 0


def distill(config: Any, out: Path, *, resume: bool, force: bool, quiet: bool) -> None:
    """Run with progress bars, then print the table of arms and the verdict."""
    from stillhouse.cli.show import RunDisplay, print_summary
    from stillhouse.core.experiment import run
    from stillhouse.tasks import task_of

    task = task_of(config)
    trainings = sum(arm.seeds for arm in task.arms(config) if arm.trains)
    with RunDisplay(trainings, quiet=quiet) as display:
        summary = run(task, config, out, resume=resume, force=force, callback=display)
    print_summary(summary, out)
