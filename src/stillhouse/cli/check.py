"""`stillhouse check`: are the teachers of a recipe any good on its data?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import RUNS, Parser, print_config, read_config
from stillhouse.core.checks import InputError

EXAMPLES = """
  stillhouse check digits
  stillhouse check mnist teacher.source=timm:resnet18 data.root=DIR     a re-made head is fitted on frozen features
  stillhouse check digits --untaught runs/digits      is it better than the student without it?
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, check, print; status 3 for a teacher at chance."""
    about = "Score of each teacher of a run against chance, on the validation split."
    parser = Parser(prog="stillhouse check", description=about, examples=EXAMPLES)
    parser.add_argument(
        "--untaught",
        metavar="RUN|SCORE",
        help="the student without a teacher: a run folder, or its validation score; a good teacher is above it",
    )
    options, config = read_config(parser, arguments, "load_run", aliases=RUNS)
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.experiment import check_teacher
    from stillhouse.tasks import task_of

    task, callback = task_of(config), RunDisplay(0, quiet=True)
    data = task.data(config, callback.log)
    task.check(config, data)
    teachers = task.teachers(config, data, None, callback.log)
    if not teachers:
        raise InputError("the recipe has no teacher; name one with teacher.source=")
    given = None if options.untaught is None else lambda teacher_check: untaught(options.untaught, teacher_check.metric)
    for teacher in teachers:
        teacher_check = check_teacher(task, teacher, config, data, untaught=given, callback=callback)
        if teacher_check.status == "ready":
            form = "{:.2%}" if teacher_check.as_percent else "{:.4f}"
            low, chance = form.format(teacher_check.low), form.format(teacher_check.chance)
            print(f"fit to teach: {low}, the lower end of its score, is above chance ({chance})")
    return 0


def untaught(given: str, metric: str) -> tuple[str, float]:
    """What the student reaches without a teacher, with its name: a number, or the mean of a run's control on the validation split.

    Args:
        given: a number or a run folder.
        metric: of the teacher's grade.

    Raises:
        InputError: neither, or a run without a control or without this metric.
    """
    try:
        score = float(given)
    except ValueError:
        pass
    else:
        if not math.isfinite(score):
            raise InputError(f"--untaught: expected a finite score, got {given}")
        if metric == "accuracy" and not 0 <= score <= 1:
            raise InputError(f"--untaught: expected an accuracy between 0 and 1, got {given}")
        return "the student without a teacher", score
    from stillhouse.core import records

    folder = Path(given)
    if not (folder / records.SUMMARY).is_file():
        raise InputError(f"--untaught: expected a number or the folder of a finished run, got {given}")
    rows = records.read_object(folder / records.SUMMARY, {}).get("comparisons") or []
    control = next((row["control"] for row in rows if str(row["name"]).startswith("teacher")), None)
    results = sorted((folder / "arms" / str(control)).glob(f"*/{records.RESULT}"))
    values = [(records.read_json(path).get("validation") or {}).get(metric) for path in results]
    found = [float(value) for value in values if value is not None]
    if not found:
        raise InputError(
            f"--untaught {given}: expected an arm without a teacher, validated by {metric}, got {control or 'none'}"
        )
    return f"the student without a teacher ({control} of {given})", sum(found) / len(found)
