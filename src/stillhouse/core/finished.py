"""Whether a run is finished, and what finishes it. Reads two files; imports nothing heavy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.records import RUN, SUMMARY, read_json


def check_finished(folder: Path) -> None:
    """Refuse a run that has no summary yet.

    Raises:
        InputError: with the command that finishes it, where `run.json` has one.
    """
    if (folder / SUMMARY).is_file():
        return
    about = read_json(folder / RUN) if (folder / RUN).is_file() else {}
    command = about.get("command") if isinstance(about, Mapping) else None
    hint = f"; finish it with: {resumed(command, folder)}" if isinstance(command, str) else ""
    raise InputError(f"{folder}: expected a finished run ({SUMMARY} in it){hint}")


def resumed(command: str, folder: Path) -> str:
    """The command of a run as one that goes on with the run where it lies now.

    Example:
        >>> resumed("stillhouse distill digits --out runs/old --set seeds=3", Path("runs/new"))
        'stillhouse distill digits --set seeds=3 --out runs/new --resume'
    """
    kept: list[str] = []
    words = iter(shlex.split(command))
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out=") and word != "--resume":
            kept.append(word)
    return shlex.join([*kept, "--out", str(folder), "--resume"])
