"""`stillhouse VERB ...`: finds the verb's function, prints faults of the user's without a traceback. No torch."""

from __future__ import annotations

import contextlib
import importlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from stillhouse import __version__
from stillhouse.cli.options import help_texts
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, StillhouseError, nearest

COMMANDS = {verb: texts["short"] for verb, texts in help_texts().items() if "short" in texts}
ROOMS = {  # where a verb's function lies; others: `main` of a module of its own in cli
    "distill": "cli.runs:distill",
    "check": "cli.runs:check",
    "train-teacher": "cli.runs:train_teacher",
    "evaluate": "cli.students:evaluate",
    "predict": "cli.students:predict",
    "export": "cli.students:export",
    "report": "cli.students:report",
    "verify": "cli.compare:verify",
    "documents": "compat.documents:main",
    "vision": "compat.vision:main",
}
GROUPS = {  # verbs of one task, in tasks/GROUP/commands.py, and those of its document, in compat/GROUP.py
    "embed": (("capture", "explore"), ("distill",)),
    "sar": (("simulate", "stream", "compare", "compress"), ("train", "distill")),
}
RESUMED = {"distill", "train-teacher", "sweep", "curve", "vision", "train"}
STATUS = {"TeacherAtChance": 3, "Interrupted": 130}  # by name, so that finding out does not import torch; others 2

HELP = """usage: stillhouse COMMAND [options]

Distil any pretrained PyTorch network into a student of a different kind, and prove whether the teacher helped.

commands:
{commands}

start here:
  stillhouse demo                                       everything at once, in two minutes
  stillhouse distill digits --epochs 60 --out runs/mine the same with a change
  stillhouse distill digits student.kind=flat-tm        another student; every setting is KEY=VALUE
  stillhouse distill my.yaml --print-config             what a YAML file of yours means, without running it
  stillhouse COMMAND --help                             its flags and examples
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 2 the user's fault, 3 teacher refused, 130 interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(HELP.format(commands="\n".join(f"  {name:<13}  {text}" for name, text in COMMANDS.items())))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"stillhouse {__version__}")
        return 0
    try:
        status = run_command(words)
        ranks.end_children(patience=20.0)
        return status
    except (StillhouseError, KeyboardInterrupt) as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else STATUS.get(type(error).__name__, 2)
        lines = str(error).strip().splitlines() or ["interrupted"]
        text = " ".join(map(str.strip, lines)) if isinstance(error, InputError) else "\n".join(lines)
        if ranks.helps():
            time.sleep(5.0)  # process 0 has the error too, says so and ends this one; else it is told here
        print(f"stillhouse {words[0]}: {text}", file=sys.stderr)
        if status == 130 and RESUMED & set(words[:2]):
            again = words if "--resume" in words else [*words, "--resume"]
            print(f"continue with: {shlex.join(['stillhouse', *again])}", file=sys.stderr)
        ranks.end_children()
        return status
    except BrokenPipeError:
        return 141
    except Exception as error:
        if (line := explained(error)) is None:
            raise
        print(f"stillhouse {words[0]}: {line}", file=sys.stderr)
        return 2


def run_command(words: Sequence[str]) -> int:
    """Import a command's module and run it; errors pass through."""
    verb, *rest = words
    if verb in GROUPS:
        own, documented = GROUPS[verb]
        if not rest or rest[0] in {"-h", "--help", "help"}:
            print(
                f"usage: stillhouse {verb} COMMAND [options]\n\n{COMMANDS[verb]}\n\nits own: {', '.join((*own, *documented))}"
            )
            print(
                "of every task: distill, train-teacher, check, cache, evaluate, predict, compare, sweep, export, report"
            )
            return 0 if rest else 2
        inner = rest[0].replace("_", "-")
        if inner in own or inner in documented:
            return _call(f"tasks.{verb}.commands:main" if inner in own else f"compat.{verb}:main", [inner, *rest[1:]])
        if inner not in COMMANDS:
            raise InputError(f"unknown command {inner!r}; {nearest(inner, [*own, *documented, *COMMANDS])}")
        return run_command([inner, *rest[1:]])  # `sar evaluate` is `evaluate`
    if verb not in COMMANDS:
        raise InputError(f"unknown command {verb!r}; {nearest(verb, COMMANDS)}")
    return _call(ROOMS.get(verb, f"cli.{verb}:main"), rest)


def _call(place: str, words: Sequence[str]) -> int:
    module, _, function = place.partition(":")
    with _terminable():
        return int(getattr(importlib.import_module(f"stillhouse.{module}"), function)(words))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that what is half-written is taken away; a training saves itself first."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


TOO_MUCH = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "overflow",
    "can't start new thread",
    "too large to convert",
)
TRAINING = {"torch", "torchvision", "timm", "lightning_fabric", "sklearn", "tensorboard"}


def explained(error: Exception) -> str | None:
    """A line for an error of a library: training without its packages, a size beyond this machine, a value that a part refuses."""
    if isinstance(error, ModuleNotFoundError) and (missing := str(error.name).partition(".")[0]) in TRAINING:
        return (
            f"this needs {missing}, which is not installed: pip install 'stillhouse[train]'; without it there are report, "
            "compare, verify, list, and predict with an export (packed, numpy, json, onnx)"
        )
    if isinstance(error, MemoryError) or any(text in str(error).lower() for text in TOO_MUCH):
        return f"not so much memory is there: {(str(error).strip().splitlines() or [repr(error)])[0]}"
    if type(error).__name__ == "ValidationError" and hasattr(
        error, "errors"
    ):  # pydantic's, of a part built from settings
        faults = [
            (".".join(map(str, one["loc"])), str(one["msg"]).removeprefix("Value error, ")) for one in error.errors()
        ]
        return "; ".join(f"{where}: {text}" if where else text for where, text in faults)
    return None
