"""`stillhouse train-teacher`: train a network on a data set, a text or radar lines and save it as a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.cli.options import TRAINING, Parser, add_run_options, print_config, read_config

EXAMPLES = """
  stillhouse train-teacher mnist-teacher data.root=DIR
  stillhouse train-teacher mnist-teacher teacher.source=timm:resnet18 teacher.pretrained=true
  stillhouse distill mnist teacher.source=ckpt:runs/mnist-teacher/teacher.safetensors
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, train, print the score and the file."""
    about = "Train a teacher of any task; of classes it is saved as OUT/teacher.safetensors."
    parser = Parser(prog="stillhouse train-teacher", description=about, examples=EXAMPLES)
    add_run_options(parser, force=False)
    options, config = read_config(parser, arguments, "load_teacher_run", aliases=TRAINING, example="mnist-teacher")
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
