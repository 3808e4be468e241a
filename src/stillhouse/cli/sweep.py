"""`stillhouse sweep`: many trials of a recipe with other settings, judged on the validation split."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.config import ConfigError
from stillhouse.core.costs import COSTS
from stillhouse.recipes import load

ABOUT = "Try many settings of a recipe, each judged on the validation split; optuna keeps the study."
USAGE = "stillhouse sweep RECIPE|FILE [KEY=VALUE[,VALUE...]...] [--space FILE] [--trials N] [options]"
EPILOG = """--space is a YAML file, a line a setting:
  training.learning_rate: {low: 1e-4, high: 1e-2, log: true}      whole numbers where both ends are
  student.depth: {choices: [1, 2, 4]}

examples:
  stillhouse sweep digits training.learning_rate=1e-3,3e-3 student.clauses=64,128
  stillhouse sweep mine.yaml --space space.yaml --trials 40 --workers 4 --prune
  stillhouse sweep mine.yaml --space space.yaml --trials 40 --storage postgresql://HOST/DB --out /shared/sweep --resume

Each trial trains the arm that ships, in a run folder DIR/trial-NNNN; controls and the test split are left for the run of the
best settings, whose command is printed. The last example joins a sweep from another machine.
"""
WORKER = "STILLHOUSE_SWEEP_WORKER"  # set where one of several workers runs


class Lines(Callback):
    """Prints a line for each trial."""

    def log(self, line: str) -> None:
        """One line."""
        print(line, flush=True)


class Interrupted(StillhouseError):
    """The workers were asked to stop and have saved their trials."""


def main(arguments: Sequence[str]) -> int:
    """Parse, work (or start workers), write the page."""
    options = _parser().parse(arguments)
    from stillhouse.core.config import to_mapping
    from stillhouse.sweeps import study as sweeps
    from stillhouse.sweeps.page import write_sweep

    fixed, space = sweeps.read_assignments(options.set)
    space |= {} if options.space is None else sweeps.read_space(options.space)
    if not space:
        raise ConfigError("nothing to sweep: give KEY=A,B with two values or more, or --space FILE")
    task, base = load(options.recipe, fixed)
    sweeps.check_space(space, lambda point: load(options.recipe, fixed, point)[1])
    points, trials = sweeps.grid_or_draws(space, options.trials)
    config = {key: value for key, value in to_mapping(base).items() if key not in ("name", "seeds")}
    about = {"task": task.kind, "space": sweeps.space_mapping(space), "seeds": options.seeds, "config": config}
    plan = sweeps.Plan(
        recipe=options.recipe,
        fixed=tuple(fixed),
        space=space,
        trials=trials,
        seeds=options.seeds,
        prune=options.prune,
        sampler=options.sampler,
        seed=options.sampler_seed,
        grid=points,
        about={**about, "grid": bool(points)},
    )
    out = options.out or Path("runs") / f"{base.name}-sweep"
    study = sweeps.open_study(plan, options.name or base.name, out, options.storage, resume=options.resume)
    if options.workers > 1:
        _start(arguments, options.workers, out)
    else:
        try:
            sweeps.work(study, plan, out, lambda settings: load(options.recipe, fixed, settings), callback=Lines())
        finally:
            write_sweep(study, plan, out, task, options.cost)
    if WORKER not in os.environ:  # else what came of it is said by whoever started this one
        _finish(write_sweep(study, plan, out, task, options.cost), out)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="stillhouse sweep", usage=USAGE, description=ABOUT, epilog=EPILOG)
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe, or a YAML file of a run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="the same as K=V: of all trials, or a list"
    )
    parser.takes_settings = True
    parser.add_argument("--space", type=Path, metavar="FILE", help="settings to draw from, see below")
    parser.add_argument("--trials", type=_positive, metavar="N", help="how many [every point of the lists; 20]")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes on this machine [1]")
    parser.add_argument("--storage", metavar="FILE|URL", help="of the study [DIR/study.db]")
    parser.add_argument("--prune", action="store_true", help="stop trials below the median of others at their epoch")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder [runs/NAME-sweep]")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep, or join its workers")
    parser.add_argument(
        "--seeds", type=_positive, default=1, metavar="N", help="trainings of a trial; their mean counts [1]"
    )
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe", help="what draws settings [tpe]")
    parser.add_argument("--sampler-seed", type=int, default=0, metavar="N", help="fixes its draws [0]")
    parser.add_argument(
        "--cost",
        choices=COSTS,
        metavar="KIND",
        help="of the front: params, macs, bytes, ms, ... [the first that differs]",
    )
    parser.add_argument("--name", help="of the study in its storage [the recipe's]")
    return parser


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9 or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def worker_words(words: Sequence[str]) -> list[str]:
    """The command of one of several workers: that of all of them, as one that joins.

    Example:
        >>> worker_words(["digits", "--workers", "4", "--set", "a=1,2", "--workers=2", "--resume"])
        ['digits', '--set', 'a=1,2', '--workers', '1', '--resume']
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--workers" and not word.startswith("--workers=") and word != "--resume":
            kept.append(word)
        skip = word == "--workers"
    return [*kept, "--workers", "1", "--resume"]


def _start(words: Sequence[str], count: int, out: Path) -> None:
    """Start workers, each the same command with one worker, and wait for all of them; they print their trials here.

    Raises:
        Interrupted: stopped on request.
        InputError: every worker ended early.
    """
    command = [sys.executable, "-m", "stillhouse", "sweep", *worker_words(words), "--out", str(out)]
    workers = [subprocess.Popen(command, env={**os.environ, WORKER: "1"}) for _ in range(count)]
    try:
        for worker in workers:
            worker.wait()
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        raise Interrupted("stopped; every worker saved its trial") from None
    if all(worker.returncode for worker in workers):
        raise InputError(f"all {count} workers ended early, for the reasons above")


def _finish(found: Mapping[str, Any], out: Path) -> None:
    """Print the best settings, the front and the command to go on with."""
    from stillhouse.sweeps.page import best_words

    running = sum(trial["state"] == "running" for trial in found["trials"])
    if running:
        print(f"{running} trials are still with other workers; --resume looks again")
    if found["best"] is None:
        raise InputError(f"no trial was finished; see the reasons in {out / 'sweep.json'}")
    settings = ", ".join(f"{key}={value}" for key, value in found["trials"][found["best"]]["settings"].items())
    print(f"best: trial {found['best']} ({settings}): {best_words(found)}")
    if found["cost"]:
        print(f"front against {found['cost']}: trials {', '.join(map(str, found['front']))}")
    print(f"now with 3 seeds, controls and the test split:\n  {found['command']}")
    print(f"page: {out / 'report.html'}")
