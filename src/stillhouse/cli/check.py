"""`stillhouse check`: is the teacher of a recipe any good on its data?"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.cli.options import Parser, print_config, read_config
from stillhouse.core.checks import InputError
from stillhouse.recipes import load_run

EXAMPLES = """examples:
  stillhouse check digits
  stillhouse check mnist --teacher-source timm:resnet18 --data-root DIR     a re-made head is fitted on frozen features
  stillhouse check mnist --teacher-source timm:resnet18 --teacher-checkpoint mine.pt
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, check, print; status 3 for a teacher at chance."""
    parser = Parser(
        prog="stillhouse check",
        description="Score, chance level and calibration of a teacher, on the validation split.",
        epilog=EXAMPLES,
    )
    options, config = read_config(parser, arguments, load_run, "digits")
    if options.print_config:
        print_config(config)
        return 0
    if config.teacher is None:
        raise InputError("the recipe has no teacher; name one with --teacher-source")
    from stillhouse.classification.teaching import describe, ready_teacher

    data = config.data.build()
    teacher = config.teacher.build(data.task)
    report = ready_teacher(teacher, data, config.training.evaluation_batch_size, probe=config.teacher.head != "keep")
    print(describe(report))
    if report.status == "ready":
        print(
            f"fit to teach: the lower end of its 95 % interval ({report.low:.2%}) is above chance ({report.chance:.2%})"
        )
        return 0
    print("not fit to teach: no better than naming the commonest class; fine-tune it with `stillhouse train-teacher`")
    return 3
