"""`stillhouse sweep`: many trials of a recipe with other settings, judged on the validation split."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError
from stillhouse.recipes import load

WORKER = "STILLHOUSE_SWEEP_WORKER"  # set where one of several workers runs


class Lines(Callback):
    """Prints a line for each trial."""

    def log(self, line: str) -> None:
        """One line."""
        print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Parse, work (or start workers), write the page."""
    parser = Parser("sweep")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe, or a YAML file of a run")
    parser.add_settings(printed=False)
    parser.add_argument("--space", type=Path, metavar="FILE", help="settings to draw from, see below")
    parser.add_argument("--trials", type=_positive, metavar="N", help="how many [every point of the lists; 20]")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes on this machine [1]")
    parser.add_argument("--storage", metavar="FILE|URL", help="of the study [DIR/study.db]")
    parser.add_argument("--prune", action="store_true", help="stop trials below the median of others at their epoch")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder [runs/NAME-sweep]")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep, or join its workers")
    parser.add_argument("--seeds", type=_positive, default=1, metavar="N", help="trainings of a trial [1]")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe", help="what draws settings [tpe]")
    options = parser.parse(arguments)
    from stillhouse.core.config import to_mapping
    from stillhouse.sweeps import space as spaces
    from stillhouse.sweeps import study as sweeps
    from stillhouse.sweeps.page import write_sweep

    fixed, space = spaces.read_assignments(options.set)
    space |= {} if options.space is None else spaces.read_space(options.space)
    if not space:
        raise ConfigError("nothing to sweep: give KEY=A,B with two values or more, or --space FILE")
    task, base = load(options.recipe, fixed)
    spaces.check_space(space, lambda point: load(options.recipe, fixed, point)[1])
    points = spaces.grid(space)
    whole = bool(points) and (options.trials is None or options.trials >= len(points))
    config = {key: value for key, value in to_mapping(base).items() if key not in ("name", "seeds")}
    about = {"task": task.kind, "space": spaces.space_mapping(space), "seeds": options.seeds, "config": config}
    plan = sweeps.Plan(
        recipe=options.recipe,
        fixed=tuple(fixed),
        space=space,
        trials=len(points) if whole else options.trials or 20,
        seeds=options.seeds,
        prune=options.prune,
        sampler=options.sampler,
        about={**about, "grid": whole},
    )
    out = options.out or Path("runs") / f"{base.name}-sweep"
    study = sweeps.open_study(plan, out.name, out, options.storage, resume=options.resume)
    if options.workers > 1:
        _start(arguments, options.workers, out)
    else:
        try:
            sweeps.work(study, plan, out, lambda settings: load(options.recipe, fixed, settings), callback=Lines())
        finally:
            write_sweep(study, plan, out, task)
    if WORKER not in os.environ:  # else what came of it is said by whoever started this one
        _finish(write_sweep(study, plan, out, task), out)
    return 0


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _start(words: Sequence[str], count: int, out: Path) -> None:
    """Start workers, each the same command as one worker that joins, and wait for all of them; they print their trials here.

    Raises:
        KeyboardInterrupt: stopped on request; every worker has saved its trial.
        InputError: every worker ended early.
    """
    joined = ["--workers", "1", "--resume", "--out", str(out)]  # of two values of a flag the last counts
    command = [sys.executable, "-m", "stillhouse", "sweep", *words, *joined]
    workers = [subprocess.Popen(command, env={**os.environ, WORKER: "1"}) for _ in range(count)]
    try:
        statuses = [worker.wait() for worker in workers]
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
            worker.wait()
        raise
    if all(statuses):
        raise InputError(f"all {count} workers ended early, for the reasons above")


def _finish(summary: Mapping[str, Any], out: Path) -> None:
    """Print the best settings, the front and the command to go on with."""
    from stillhouse.sweeps.page import best_words

    running = sum(trial["state"] == "running" for trial in summary["trials"])
    lines = [f"{running} trials are still with other workers; --resume looks again"] if running else []
    if summary["best"] is None:
        raise InputError("; ".join(["no trial was finished", *lines, f"the reasons are in {out / 'sweep.json'}"]))
    settings = ", ".join(f"{key}={value}" for key, value in summary["trials"][summary["best"]]["settings"].items())
    lines.append(f"best: trial {summary['best']} ({settings}): {best_words(summary)}")
    if summary["cost"]:
        lines.append(f"front against {summary['cost']}: trials {', '.join(map(str, summary['front']))}")
    print("\n".join([*lines, f"now with 3 seeds, controls and the test split:\n  {summary['command']}"]))
    print(f"page: {out / 'report.html'}")
