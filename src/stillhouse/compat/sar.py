"""`stillhouse sar train` and `sar distill`: document 002 by its own flags and YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.cli.options import Parser, add_run_options, print_config
from stillhouse.compat import flags


def train(words: Sequence[str]) -> int:
    """Train a focusing network (the teacher) on the ground truth."""
    parser = Parser("sar train")
    parser.add_argument("--config", required=True, metavar="FILE", help="documented YAML file, or a shipped recipe")
    options, changes = _read(parser, words, "sar-train")
    from stillhouse.tasks.sar.documented import read_teacher, save_folder
    from stillhouse.tasks.sar.recipes import recipe_path

    path = recipe_path(options.config)
    config = read_teacher(path, changes)
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.show import RunDisplay
    from stillhouse.tasks.sar.task import TASK

    out = Path(options.out or save_folder(path) or f"results/{config.name}")
    with RunDisplay(1, quiet=options.quiet) as display:
        lines = TASK.train_teacher(config, out, resume=options.resume, callback=display)
    print("\n".join(lines))
    return 0


def distill(words: Sequence[str]) -> int:
    """Train students with a teacher and without, and show whether it helped."""
    parser = Parser("sar distill")
    parser.add_argument("--teacher-config", required=True, metavar="FILE", help="that the teacher was trained from")
    parser.add_argument("--teacher-checkpoint", required=True, metavar="DIR", help="its run, or best_model.pth")
    parser.add_argument("--student-config", required=True, metavar="FILE", help="YAML file or recipe of the student")
    options, changes = _read(parser, words, "sar-train", "sar-distill")
    from stillhouse.tasks.sar.documented import read_student, save_folder
    from stillhouse.tasks.sar.recipes import recipe_path

    path = recipe_path(options.student_config)
    weights = changes.get("distillation") or {}
    if "gamma" not in weights and not {"alpha", "beta"}.isdisjoint(weights):
        weights["gamma"] = None  # the file's third weight does not fit two others
    config = read_student(path, recipe_path(options.teacher_config), options.teacher_checkpoint, changes)
    if options.print_config:
        return print_config(config)
    from stillhouse.cli.runs import run_and_print

    out = Path(options.out or save_folder(path) or f"results/{config.name}")
    run_and_print(config, out, options)
    return 0


def _read(parser: Parser, words: Sequence[str], *tables: str) -> tuple[Any, dict[str, Any]]:
    """Options, and what they change in a documented file."""
    add_run_options(parser, force="sar-distill" in tables)
    parser.add_argument("--save-dir", dest="out", type=Path, metavar="DIR", help="the same as --out")
    about = "also log to Weights & Biases: on this disk (offline, also --wandb alone), or sent while it trains (online)"
    parser.add_argument("--wandb", nargs="?", const="offline", choices=("offline", "online"), help=about)
    parser.add_flags(flags(*tables))
    parser.add_settings()
    options = parser.parse(words)
    given = {path: None if value == "none" else value for path, value in parser.given(options).items()}
    given |= {} if options.wandb is None else {"wandb": options.wandb}
    if "data.file" in given:
        given["data.source"] = "npz"
    from stillhouse.core.config import apply_override

    changes: dict[str, Any] = {}
    apply_override(changes, options.set, given)
    return options, changes
