"""`stillhouse train-teacher`: train a network on a data set, a text or radar lines and save it as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import CONFIG, DATA, TEACHERS, TRAINING, Parser, print_config, read_config
from stillhouse.cli.stored import recipes
from stillhouse.core.records import run_place
from stillhouse.recipes import load_teacher_run, teacher_family

EXAMPLES = """
  stillhouse train-teacher mnist-teacher --data-root DIR
  stillhouse train-teacher mnist-teacher --teacher-source timm:resnet18 --teacher-pretrained
  stillhouse distill mnist --teacher-source ckpt:runs/mnist-teacher/teacher.safetensors
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, train, print the score and the file."""
    parser = Parser(
        prog="stillhouse train-teacher",
        description="Train a teacher of any family; of classes it is saved as OUT/teacher.safetensors.",
        common={
            **TRAINING,
            **DATA,
            "--data-image-size": "",
            "--augment": "",
            **TEACHERS,
            "--teacher-pretrained": "",
            **CONFIG,
        },
        examples=EXAMPLES,
    )
    parser.add_argument("--out", type=Path, help="run folder [runs/NAME]")
    parser.add_argument("--resume", action="store_true", help="continue the training in the folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, config = read_config(parser, arguments, load_teacher_run, "mnist-teacher", roots=recipes("teacher"))
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.cli.show import RunDisplay

    out = run_place(options.out, config.name)
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = teacher_family(config).train_teacher(config, out, resume=options.resume, watch=display)
    print("\n".join(lines))
    return 0
