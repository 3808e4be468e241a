"""`stillhouse train-teacher`: fine-tune a network on a data set and save it as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import CONFIG, DATA, TEACHERS, TRAINING, Parser, print_config, read_config
from stillhouse.core.records import run_place
from stillhouse.recipes import load_teacher_run

EXAMPLES = """
  stillhouse train-teacher mnist-teacher --data-root DIR
  stillhouse train-teacher mnist-teacher --teacher-source timm:resnet18 --teacher-pretrained
  stillhouse distill mnist --teacher-source ckpt:runs/mnist-teacher/teacher.safetensors
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, train, print the score and the file."""
    parser = Parser(
        prog="stillhouse train-teacher",
        description="Fine-tune a teacher; it is saved as OUT/teacher.safetensors.",
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
    options, config = read_config(parser, arguments, load_teacher_run, "mnist-teacher")
    if options.print_config:
        print_config(config)
        return 0
    from stillhouse.classification.train_teacher import train_teacher
    from stillhouse.cli.show import RunDisplay

    out = run_place(options.out, config.name)
    with RunDisplay(1, quiet=options.quiet) as display:
        result = train_teacher(config, out, resume=options.resume, watch=display)
    print(
        f"validation accuracy {result['validation']['accuracy']:.2%}, test accuracy {result['metrics']['accuracy']:.2%}"
    )
    print(f"use it as --teacher-source ckpt:{out / 'teacher.safetensors'}")
    return 0
