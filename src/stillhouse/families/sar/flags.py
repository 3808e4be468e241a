"""Flags of the family's commands, and what they change in a documented file."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import yaml

from stillhouse.cli.options import Parser
from stillhouse.core.config import place, set_path

RUN_FLAGS = {
    **dict.fromkeys(
        ("--data", "--out", "--resume", "--epochs", "--learning-rate", "--batch-size", "--threads", "--device"), ""
    ),
    **dict.fromkeys(("--devices", "--no-compare", "--quiet", "--set", "--print-config"), ""),
}
Change = dict[str, Any]


def add_run_flags(parser: Parser) -> None:
    """Flags of the commands that train."""
    parser.add_argument("--out", dest="save_dir", help="run folder [the file's training.save_dir]")
    parser.add_argument("--save-dir", dest="save_dir", help=argparse.SUPPRESS)  # the document's name
    parser.add_argument(
        "--data", metavar="FILE.npz", help="lines of `sar simulate --out FILE.npz` or of your own [those of the file]"
    )
    parser.add_argument("--epochs", help="passes over the training lines")
    parser.add_argument("--num-epochs", dest="epochs", help=argparse.SUPPRESS)
    parser.add_argument("--learning-rate", help="peak of the schedule")
    parser.add_argument("--batch-size", help="lines an optimizer step")
    parser.add_argument("--scheduler-type", help="cosine or constant")
    parser.add_argument("--threads", help="CPU threads; auto: one or all, whichever is faster")
    parser.add_argument("--device", help="auto, cpu or cuda")
    parser.add_argument("--devices", help="processes of each machine, a GPU each; auto: all there are [1]")
    parser.add_argument("--num-nodes", help="machines, joined by torchrun or SLURM [1]")
    parser.add_argument("--strategy", help="of several processes: ddp, or fsdp, which splits weights [ddp]")
    parser.add_argument("--precision", help="32-true; complex transforms have no half precision")
    parser.add_argument("--resume", action="store_true", help="continue the run in the folder")
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="offline",
        choices=("offline", "online"),
        help="also log to Weights & Biases: offline (alone): on this disk; online: sent while it trains",
    )
    parser.add_argument(
        "--no-compare", action="store_true", help="leave out filters, truncation and times when all is trained"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_changes(parser, "change one key of the file: --set training.patience=5")


def add_changes(parser: Parser, text: str) -> None:
    """`--set` and `--print-config`."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration as YAML and exit")


def changes_of(options: Any) -> Change:
    """Flags and assignments as a mapping to be laid over the file."""
    found: Change = {}
    assign(found, options.set)
    training = {
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "schedule": options.scheduler_type,
        "threads": options.threads,
        "devices": options.devices,
        "num_nodes": options.num_nodes,
        "strategy": options.strategy,
        "precision": options.precision,
    }
    for key, value in training.items():
        if value is not None:
            place(found, ("training", key), _plain(value))
    if options.data is not None:
        found["data"] = {**found.get("data", {}), "source": "npz", "file": options.data}
    if options.device is not None:
        found["device"] = options.device
    if options.wandb is not None:
        found["wandb"] = options.wandb
    if options.no_compare:
        found["compare"] = False
    return found


def student_changes_of(options: Any) -> Change:
    """The same, with those of the student and of the distillation."""
    found = changes_of(options)
    for key in ("model_dim", "state_dim", "num_layers"):
        if (value := getattr(options, f"student_{key}")) is not None:
            place(found, ("model", key), _plain(value))
    if gamma_is_the_rest(options, found):
        place(found, ("distillation", "gamma"), None)  # the file's third weight does not fit two others
    for key in ("temperature", "alpha", "beta", "gamma"):
        if (value := getattr(options, key)) is not None:
            place(found, ("distillation", key), _plain(value))
    if options.arms is not None:
        found["arms"] = options.arms
    if options.seeds is not None:
        found["seeds"] = _plain(options.seeds)
    return found


def gamma_is_the_rest(options: Any, changes: Change) -> bool:
    """Whether --alpha or --beta was given without a gamma: then it is 1 - alpha - beta, whatever the file has."""
    named = "gamma" in (changes.get("distillation") or {}) or options.gamma is not None
    return not named and (options.alpha is not None or options.beta is not None)


def changed_gamma(options: Any, was: Any, now: float) -> str | None:
    """A line that says so, where it is another than the file's; None where nothing changed in silence.

    Args:
        options: the command's.
        was: gamma of the file, None where it has none.
        now: gamma of the run.
    """
    if options.alpha is None and options.beta is None:
        return None
    if options.gamma is not None or not isinstance(was, (int, float)) or math.isclose(was, now, abs_tol=1e-9):
        return None
    return f"gamma: {now:g} (1 - alpha - beta), no longer the file's {was:g}; --gamma sets it"


def assign(mapping: Change, assignments: Sequence[str]) -> None:
    """Carry out `--set KEY=VALUE`, each in its turn."""
    for assignment in assignments:
        set_path(mapping, assignment)


def _plain(text: str) -> Any:
    """A word as YAML would read it; what it does not take for a number stays text, for the schema to judge."""
    if text.lower() in {"none", "null"}:
        return None
    value = yaml.safe_load(text)
    return value if isinstance(value, (int, float)) else text
