"""`stillhouse check`: are the teachers of a recipe any good on its data?"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.cli.options import DATA, TEACHERS, Parser, print_config, read_config
from stillhouse.core.checks import InputError
from stillhouse.recipes import load_run

EXAMPLES = """
  stillhouse check digits
  stillhouse check mnist --teacher-source timm:resnet18 --data-root DIR     a re-made head is fitted on frozen features
  stillhouse check mnist --teacher-source timm:resnet18 --teacher-checkpoint mine.pt
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, check, print; status 3 for a teacher at chance."""
    parser = Parser(
        prog="stillhouse check",
        description="Score of each teacher of a run against chance, on the validation split.",
        common={
            **TEACHERS,
            "--teacher-image-size": "",
            "--teacher-head": "",
            **DATA,
            "--data-image-size": "",
            "--device": "where to compute [auto]",
            "--set": "",
            "--print-config": "",
        },
        examples=EXAMPLES,
    )
    options, config = read_config(parser, arguments, load_run, "digits")
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.cli.show import RunDisplay
    from stillhouse.core.experiment import accept
    from stillhouse.families import family_of

    family, watch = family_of(config), RunDisplay(0, quiet=True)
    data = family.data(config, watch.log)
    family.check(config, data)
    teachers = family.teachers(config, data, None, watch.log)
    if not teachers:
        raise InputError("the recipe has no teacher; name one with --teacher-source")
    grades = [accept(family, teacher, config, data, watch=watch) for teacher in teachers]
    plain = family.plain_score(config, data)
    for grade in grades:
        if plain is not None and grade.score < plain[1]:
            print(
                f"better than chance, but below what {plain[0]} reaches: poor ({grade.score:.4f}, {plain[1]:.4f}, "
                f"chance {grade.chance:.4f})"
            )
            continue
        above = "" if plain is None else f" and what {plain[0]} reaches ({plain[1]:.4f})"
        print(f"fit to teach: {grade.low:.4f}, the lower end of its score, is above chance ({grade.chance:.4f}){above}")
    return 0
