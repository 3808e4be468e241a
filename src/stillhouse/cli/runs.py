"""`stillhouse distill`, `check` and `train-teacher`: a recipe or a YAML file, carried out for any task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import RUNS, TRAINING, Parser, add_run_options, print_config, read_config
from stillhouse.core.checks import InputError


def distill(arguments: Sequence[str]) -> int:
    """A whole run, from the teacher's check to the report."""
    parser = Parser("distill")
    add_run_options(parser)
    return run_or_print(*read_config(parser, arguments, "load_run", flags=RUNS))


def run_or_print(options: Any, config: Any, out: Path | None = None) -> int:
    """Carry out a run as the options of the command line say, or print its configuration."""
    if options.print_config:
        return print_config(config)
    from stillhouse.core.records import run_place

    out = out or run_place(options.out, config.name)
    carry_out(config, out, resume=options.resume, force=options.force, quiet=options.quiet)
    return 0


def carry_out(config: Any, out: Path, *, resume: bool, force: bool, quiet: bool) -> None:
    """Run with progress bars, then print the table of arms and the verdict."""
    from stillhouse.cli.show import RunDisplay, print_summary
    from stillhouse.core.experiment import run
    from stillhouse.tasks import task_of

    task = task_of(config)
    with RunDisplay(sum(arm.seeds for arm in task.arms(config) if arm.trains), quiet=quiet) as display:
        summary = run(task, config, out, resume=resume, force=force, callback=display)
    print_summary(summary, out)


def check(arguments: Sequence[str]) -> int:
    """The score of each teacher of a run against chance; status 3 for a teacher at chance."""
    parser = Parser("check")
    text = "the student without a teacher: a run folder, or its validation score; a good teacher is above it"
    parser.add_argument("--untaught", metavar="RUN|SCORE", help=text)
    options, config = read_config(parser, arguments, "load_run", flags=RUNS)
    if options.print_config:
        return print_config(config)
    from stillhouse.core.experiment import check_teacher

    task, data, teachers, callback = loaded(config)
    given = None if options.untaught is None else lambda found: untaught(options.untaught, found.metric)
    for teacher in teachers:
        found = check_teacher(task, teacher, config, data, untaught=given, callback=callback)
        if found.status == "ready":
            form = "{:.2%}" if found.as_percent else "{:.4f}"
            low, chance = form.format(found.low), form.format(found.chance)
            print(f"fit to teach: {low}, the lower end of its score, is above chance ({chance})")
    return 0


def loaded(config: Any) -> tuple[Any, Any, Any, Any]:
    """The task, the data and the teachers of a run, and who is told what goes on.

    Raises:
        InputError: it has no teacher.
    """
    from stillhouse.cli.show import RunDisplay
    from stillhouse.tasks import task_of

    task, callback = task_of(config), RunDisplay(0, quiet=True)
    data = task.data(config, callback.log)
    task.check(config, data)
    teachers = task.teachers(config, data, None, callback.log)
    if not teachers:
        raise InputError("the recipe has no teacher; name one with teacher.source=")
    return task, data, teachers, callback


def untaught(given: str, metric: str) -> tuple[str, float]:
    """What the student reaches without a teacher, with its name: a number, or the mean of a run's control on the validation split.

    Args:
        given: a number or a run folder.
        metric: of the teacher's score.

    Raises:
        InputError: neither, or a run without a control or without this metric.
    """
    from stillhouse.core import records

    folder = Path(given)
    if not folder.is_dir():
        try:
            score = float(given)
        except ValueError:
            raise InputError(f"--untaught: expected a number or the folder of a run, got {given}") from None
        if not math.isfinite(score) or (metric == "accuracy" and not 0 <= score <= 1):
            raise InputError(f"--untaught: expected a finite score, of accuracy between 0 and 1, got {given}")
        return "the student without a teacher", score
    rows = records.read_object(folder / records.SUMMARY, {}).get("comparisons") or []
    control = next((row["control"] for row in rows if str(row["name"]).startswith("teacher")), None)
    results = map(records.read_json, sorted((folder / "arms" / str(control)).glob(f"*/{records.RESULT}")))
    found = [float(value) for one in results if (value := (one.get("validation") or {}).get(metric)) is not None]
    if not found:
        raise InputError(f"--untaught {given}: expected an arm without a teacher, validated by {metric}, got {control}")
    return f"the student without a teacher ({control} of {given})", sum(found) / len(found)


def train_teacher(arguments: Sequence[str]) -> int:
    """Train a network on a data set, a text or radar lines and save it as a teacher."""
    parser = Parser("train-teacher")
    add_run_options(parser, force=False)
    options, config = read_config(parser, arguments, "load_teacher_run", flags=TRAINING, example="mnist-teacher")
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.records import run_place
    from stillhouse.recipes import teacher_task

    out = run_place(options.out, config.name)
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = teacher_task(config).train_teacher(config, out, resume=options.resume, callback=display)
    print("\n".join(lines))
    return 0
