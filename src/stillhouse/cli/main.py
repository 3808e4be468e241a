"""`stillhouse VERB ...`: finds the verb's file, prints faults of the user's without a traceback."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from stillhouse import __version__
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, StillhouseError, nearest

COMMANDS = {
    "demo": "distil a small clause student on bundled digits and print the verdict (two minutes, offline)",
    "distill": "run a recipe or YAML file: check the teacher, train every arm and seed, compare, report",
    "check": "is this teacher any good on this data? its score against chance",
    "cache": "ask a teacher once and keep its answers, for runs of any task; show",
    "train-teacher": "fine-tune a teacher and save it in the form that ckpt:FILE reads",
    "evaluate": "score a saved student of any task on its test split, or on other data",
    "predict": "use a student: photos, texts, vectors or lines in, answers out",
    "compare": "runs that are scored alike in one table and page: scores, paired intervals, cost, time",
    "sweep": "try many settings of a recipe, judged on the validation split: workers, pruning, a Pareto front",
    "curve": "what the teacher gains with 25, 50, 100, ... labels: a whole run for each, one page with a plot",
    "verify": "is A better than B? from anyone's per-item scores: an interval, one word, an exit status",
    "export": "write a student as packed bits, C, rules, ONNX, ...; checked on the test split after it is written",
    "report": "make report.html again from a run folder",
    "list": "recipes, data sets, teachers, signals and students that there are",
    "documents": "lay out the files that the five documents call, for their commands as printed",
    "vision": "documents 000 and 001: clause networks on images by flags of their own, several models in one run",
    "embed": "of embeddings alone: capture texts as vectors, explore a space; distill, as document 004",
    "lm": "of language models alone: generate, energy",
    "sar": "of radar alone: simulate, stream, compare, compress; train and distill, as document 002",
}
GROUPS = {  # verbs of one task: in tasks/GROUP/commands.py, those of a document in compat/GROUP.py
    "embed": ("capture", "explore"),
    "lm": ("generate", "energy"),
    "sar": ("simulate", "stream", "compare", "compress"),
}
DOCUMENTED = {"vision": (), "embed": ("distill",), "sar": ("train", "distill")}
RESUMED = {"distill", "train-teacher", "sweep", "curve", "vision", "train"}

INTERRUPTED = 130
GRACE = 5.0  # seconds

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

options:
  -h, --help     show this and exit
  --version      show the version and exit
"""
GROUP_HELP = """usage: stillhouse {group} COMMAND [options]

{about}

commands: {verbs}
of every task: distill, train-teacher, check, cache, evaluate, predict, compare, sweep, export, report (stillhouse COMMAND --help)

  stillhouse {group} COMMAND --help
"""


def program() -> int:
    """`main` as a process of its own. It ends as soon as that has returned and all that waits for the end (`atexit`) has run.

    Python would take apart every module first: 2 processor seconds once torch is imported, in which Ctrl-C seems to do nothing.
    """
    status: int | str | None = 1  # of an error that passes through, whose traceback Python prints

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none reads it
                stream.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))

    atexit.register(end)  # the first of all, so the last to run
    try:
        status = main()
    except SystemExit as stop:
        status = stop.code
        raise
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 2 the user's fault, 3 teacher refused, 130 interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) > 1 and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in {"-h", "--help", "help"}:
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0 if words else 2
    if words[0] in {"-V", "--version", "version"}:
        print(f"stillhouse {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"stillhouse: unknown command {words[0]!r}; {nearest(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    try:
        status = run_command(words)
        ranks.end_children(patience=20.0)
        return status
    except StillhouseError as error:
        if ranks.helps():
            return _helper_failed(error)
        print(f"stillhouse {words[0]}: {_text(error)}", file=sys.stderr)
        status = _status(error)
        if status == INTERRUPTED:
            print(f"continue with: {_resumed(words)}", file=sys.stderr)
        ranks.end_children()  # they ended alike, or wait for this one
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if RESUMED & set(words[:2]):
            print(f"continue with: {_resumed(words)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 141
    except Exception as error:
        if (text := explained(error)) is None:
            raise
        print(f"stillhouse {words[0]}: {text}", file=sys.stderr)
        return 2


def _resumed(words: Sequence[str]) -> str:
    again = words if "--resume" in words else [*words, "--resume"]
    return shlex.join(["stillhouse", *map(str, again)])


def run_command(words: Sequence[str]) -> int:
    """Import a command's module and run it; errors pass through."""
    group, rest = words[0], list(words[1:])
    if group in GROUPS:
        verbs = (*GROUPS[group], *DOCUMENTED.get(group, ()))
        if not rest or rest[0] in {"-h", "--help", "help"}:
            print(GROUP_HELP.format(group=group, about=COMMANDS[group], verbs=", ".join(verbs)))
            return 0 if rest else 2
        verb = rest[0].replace("_", "-")
        if verb not in verbs:  # `lm distill` is `distill`
            of_every_task = [name for name in COMMANDS if name not in {*GROUPS, *DOCUMENTED}]
            if verb not in of_every_task:
                raise InputError(f"unknown command {rest[0]!r}; {nearest(rest[0], [*verbs, *of_every_task])}")
            return run_command([verb, *rest[1:]])
        home = f"stillhouse.tasks.{group}.commands" if verb in GROUPS[group] else f"stillhouse.compat.{group}"
        rest = [verb, *rest[1:]]
    else:
        home = "stillhouse.compat.vision" if group == "vision" else f"stillhouse.cli.{group.replace('-', '_')}"
    with _terminable():
        return int(importlib.import_module(home).main(rest))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that what is half-written is taken away; a training saves itself first."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _text(error: StillhouseError) -> str:
    """What is printed of an error: one line, also where it quotes a library that wrote several; of settings, a line a fault."""
    text = str(error)
    return " ".join(map(str.strip, text.splitlines())) if isinstance(error, InputError) else text


def _helper_failed(error: StillhouseError) -> int:
    """What a process that helps does with an error: process 0 has it too, says so and ends this one; else it is told here."""
    time.sleep(GRACE)
    print(
        f"stillhouse, process {os.environ.get('RANK', os.environ.get('LOCAL_RANK', '?'))}: {_text(error)}",
        file=sys.stderr,
    )
    return _status(error)


TRAINING = {"torch", "torchvision", "timm", "lightning_fabric", "sklearn", "tensorboard"}

TOO_MUCH = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "size calculation overflowed",
    "multiplication overflow",
    "invalid size, possible overflow",
    "verflow when unpacking long",
    "can't start new thread",
    "too large to convert",
)


def asks_too_much(error: BaseException) -> bool:
    """Whether an error says that a size is beyond what this machine has: of Python, numpy or torch, in their words."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in map(str.lower, TOO_MUCH))


def explained(error: Exception) -> str | None:
    """A line for an error of a library: training without its packages, a size beyond this machine, a value that a part refuses."""
    if isinstance(error, ModuleNotFoundError) and (missing := str(error.name).partition(".")[0]) in TRAINING:
        return (
            f"this needs {missing}, which is not installed: pip install 'stillhouse[train]'; without it there are report, "
            "compare, verify, list, and predict with an export (packed, numpy, json, onnx)"
        )
    if asks_too_much(error):
        lines = str(error).strip().splitlines()
        return f"not so much memory is there: {lines[0] if lines else repr(error)}"
    if type(error).__name__ == "ValidationError" and hasattr(
        error, "errors"
    ):  # pydantic's, of a part built from settings
        faults = [(".".join(map(str, e["loc"])), str(e["msg"]).removeprefix("Value error, ")) for e in error.errors()]
        return "; ".join(f"{where}: {text}" if where else text for where, text in faults)
    return None


def _status(error: StillhouseError) -> int:
    # by name, so that finding out does not import torch
    return {"TeacherAtChance": 3, "Interrupted": INTERRUPTED}.get(type(error).__name__, 2)
