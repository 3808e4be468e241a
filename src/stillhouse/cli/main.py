"""`stillhouse COMMAND ...`: finds the command's file, prints faults of the user's without a traceback."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from stillhouse import __version__
from stillhouse.cli import early
from stillhouse.cli.stored import page
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, StillhouseError, nearest

COMMANDS = {
    "demo": "distil a small clause student on bundled digits and print the verdict (two minutes, offline)",
    "distill": "run a recipe or YAML file: check the teacher, train every arm and seed, compare, report",
    "check": "is this teacher any good on this data? its score against chance",
    "cache": "ask a teacher once and keep its answers, for runs of any family on any number of machines; merge, show",
    "train-teacher": "fine-tune a teacher and save it in the form that ckpt:FILE reads",
    "evaluate": "score a saved student of any family on its test split",
    "predict": "use a student: photos, texts, vectors or lines in, answers out",
    "compare": "runs that are scored alike in one table and page: scores, paired intervals, cost, time",
    "sweep": "try many settings of a recipe, judged on the validation split: workers, pruning, a Pareto front",
    "verify": "is A better than B? from anyone's per-item scores: an interval, one word, an exit status",
    "export": "write a student as packed bits, C, Verilog, rules, ONNX, ...; checked on the test split after it is written",
    "report": "make report.html again from a run folder",
    "vision": "train and distil clause networks on images by flags of their own: TM transformers, flat, residual, pyramid",
    "embed": "distil wide embeddings into five numbers: capture, distill, evaluate, encode, explore, export",
    "lm": "distil a transformer language model into a recurrent one of ternary spikes: train-teacher, distill, generate, ...",
    "list": "recipes, data sets, teachers, signals and students that there are",
    "documents": "lay out the files that the five documents call, for their commands as printed",
    "sar": "focus synthetic aperture radar with state-space networks: simulate, train, distill, compare, stream, evaluate",
}

INTERRUPTED = 130
GRACE = 5.0  # seconds
FAMILIES = {
    "embed": "stillhouse.families.embed.commands",
    "lm": "stillhouse.families.lm.commands",
    "sar": "stillhouse.families.sar.commands",
    "vision": "stillhouse.families.clauses.commands",
}

HELP = """usage: stillhouse COMMAND [options]

Distil any pretrained PyTorch network into a student of a different kind, and prove whether the teacher helped.

commands:
{commands}

start here:
  stillhouse demo                                       everything at once, in two minutes
  stillhouse distill digits --epochs 60 --out runs/mine the same with a change
  stillhouse distill my.yaml --print-config             what a YAML file of yours means, without running it
  stillhouse COMMAND --help                             the flags that people use; --help-all, --help GROUP for the rest

options:
  -h, --help     show this and exit
  --version      show the version and exit
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
        if (text := page(words)) is not None:
            print(text, end="")
            return 0
        early.look(words)
        status = run_command(words)
        ranks.end_children(patience=20.0)
        return status
    except StillhouseError as error:
        if ranks.helps():
            return _helper_failed(error)
        print(f"stillhouse {words[0]}: {as_typed(_text(error), words)}", file=sys.stderr)
        status = _status(error)
        if status == INTERRUPTED:
            print(f"continue with: {_resumed(words)}", file=sys.stderr)
        ranks.end_children()  # they ended alike, or wait for this one
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if resumes(words):
            print(f"continue with: {_resumed(words)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 141
    except Exception as error:
        if (text := explained(error)) is None:
            raise
        print(f"stillhouse {words[0]}: {text}", file=sys.stderr)
        return 2


def resumes(words: Sequence[str]) -> bool:
    """Whether a command goes on with what it has begun, by its own page.

    Example:
        >>> resumes(["embed", "distill", "vectors.npy"]), resumes(["predict", "runs/digits"])
        (True, False)
    """
    for command in (list(words[:2]), list(words[:1])):
        try:
            text = page([*command, "--help-all"])
        except StillhouseError:
            continue
        if text is not None:
            return "--resume" in text
    return False


def _resumed(words: Sequence[str]) -> str:
    again = words if "--resume" in words else [*words, "--resume"]
    return shlex.join(["stillhouse", *map(str, again)])


def as_typed(text: str, words: Sequence[str]) -> str:
    """A message in which flags are spelled as they were typed; those that were not, as the command's own pages have them.

    Example:
        >>> as_typed("choose another --out", ["sar", "train", "--save_dir", "runs"])
        'choose another --save_dir'
        >>> as_typed("looked in x (--data-root); --no-teacher-pretrained", ["vision"])
        'looked in x (--dataset-root); --no-distill-teacher-pretrained'
    """
    if text.startswith("unknown flag"):  # found among the command's own
        return text
    typed = {word.partition("=")[0] for word in words if word.startswith("--")}
    spelled = {flag.replace("_", "-"): flag for flag in sorted(typed)}
    own = _own_flags(words)

    def flag(found: re.Match[str]) -> str:
        name = found[0] if found[0] in spelled else own.get(found[0], found[0])
        return spelled.get(name, name)

    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", flag, text)


def _own_flags(words: Sequence[str]) -> dict[str, str]:
    """What a command calls the flags that it shares with others under another name."""
    if words[0] == "vision":
        from stillhouse.families.clauses.vision.flags import TABLE

        others = {row.path.replace(".", "-").replace("_", "-"): row.name.removeprefix("--") for row in TABLE}
        return {f"--{no}{other}": f"--{no}{name}" for other, name in others.items() for no in ("", "no-")}
    given = {word.partition("=")[0].replace("_", "-") for word in words}
    documented = sorted(given & {"--save-dir", "--output"})
    return {"--out": documented[0]} if documented else {}


def run_command(words: Sequence[str]) -> int:
    """Import a command's module and run it; errors pass through."""
    home = FAMILIES.get(words[0], f"stillhouse.cli.{words[0].replace('-', '_')}")
    with _terminable():
        return int(importlib.import_module(home).main(list(words[1:])))


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
