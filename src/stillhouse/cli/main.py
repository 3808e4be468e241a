"""`stillhouse VERB ...`: finds the verb's function, prints faults of the user's without a traceback. No torch."""

from __future__ import annotations

import importlib
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence

from stillhouse import __version__
from stillhouse.cli.options import help_texts
from stillhouse.core import ranks
from stillhouse.core.checks import InputError, StillhouseError, nearest

RESUMED = {"distill", "train-teacher", "sweep", "curve", "vision", "train"}
STATUS = {"TeacherAtChance": 3, "Interrupted": 130}  # by name, so that finding out does not import torch; others 2
TOO_MUCH = "allocate memory|not enough memory|out of memory|overflow|start new thread|too large to convert"
TRAINING = {"torch", "torchvision", "timm", "lightning_fabric", "sklearn", "tensorboard"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 2 the user's fault, 3 teacher refused, 130 interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # SIGTERM ends a command as Ctrl-C does, so that what is half-written is taken away
        signal.signal(signal.SIGTERM, signal.default_int_handler)
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
        if (line := explain_library_error(error)) is None:
            raise
        print(f"stillhouse {words[0]}: {line}", file=sys.stderr)
        return 2


def table_of(verbs: Iterable[str]) -> str:
    """A line a command: its name and what it does.

    Example:
        >>> table_of(["list"]).split(maxsplit=1)[0]
        'list'
    """
    return "\n".join(f"  {verb:<13}  {help_texts()['verbs'][verb]['short']}" for verb in verbs)


def run_command(words: Sequence[str]) -> int:
    """Import a command's module and run it; errors pass through."""
    verbs = help_texts()["verbs"]
    if not words or words[0] in {"-h", "--help", "help"}:
        print(help_texts()["page"].format(commands=table_of(verbs)))
        return 0 if words else 2
    if words[0] == "--version":
        print(f"stillhouse {__version__}")
        return 0
    of_group = [verb for verb in verbs if verb.startswith(f"{words[0]} ")]
    if of_group and words[0] not in verbs and set(words[1:]) <= {"-h", "--help"}:
        print(f"usage: stillhouse {words[0]} COMMAND; COMMAND --help says more\n\n{table_of(of_group)}")
        return 0 if words[1:] else 2
    pair = " ".join(words[:2])
    verb = pair if pair in verbs or (of_group and words[0] not in verbs) else words[0]
    if verb not in verbs:
        known = [one.split()[-1] for one in of_group] or verbs
        raise InputError(f"unknown command {verb!r}; {nearest(verb.split()[-1], known)}")
    module, _, function = verbs[verb]["run"].partition(":")
    command = getattr(importlib.import_module(f"stillhouse.{module}"), function)
    return int(command(words[1 + verb.count(" ") :]))


def explain_library_error(error: Exception) -> str | None:
    """A line for an error of a library: training without its packages, a size beyond this machine, a value that a part refuses."""
    first = (str(error).strip().splitlines() or [repr(error)])[0]
    if isinstance(error, ModuleNotFoundError) and (missing := str(error.name).partition(".")[0]) in TRAINING:
        return (
            f"this needs {missing}, which is not installed: pip install 'stillhouse[train]'; without it there are report, "
            "compare, verify, list, and predict with an export (packed, numpy, onnx)"
        )
    if isinstance(error, MemoryError) or re.search(TOO_MUCH, str(error)):
        return f"not so much memory is there: {first}"
    if type(error).__name__ == "ValidationError":  # pydantic's, of a part built from settings
        return " ".join(str(error).split())
    return None
