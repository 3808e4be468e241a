"""`stillhouse distill`, `check` and `train-teacher`: a recipe or a YAML file, carried out for any task."""

from __future__ import annotations

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
    options, config = read_config(parser, arguments, "load_run", flags=RUNS)
    if options.print_config:
        return print_config(config)
    from stillhouse.core.experiment import check_teacher

    task, data, teachers, callback = loaded(config)
    for teacher in teachers:
        found = check_teacher(task, teacher, config, data, callback=callback)
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
