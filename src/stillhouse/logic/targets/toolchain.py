"""Programs that build and run what was compiled: found where they are, one clear line where they are not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from stillhouse.core.checks import InputError

C_FLAGS = ("-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def tool(name: str, source: str) -> str:
    """Where a program is.

    Args:
        name: of the program.
        source: how to get it, for the message.

    Raises:
        InputError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name}: expected it on the path, got none; install it ({source})")
    return found


def c_compiler(target: str | None = None) -> list[str]:
    """A C compiler's command: `cc`, or zig's for another target and where there is no `cc`.

    Args:
        target: such as "x86-linux-musl" (32 bits) or "wasm32-freestanding"; None for this machine.

    Raises:
        InputError: there is none.
    """
    if target is None and (here := shutil.which("cc")):
        return [here]
    if find_spec("ziglang") is None:
        wanted = f"for {target}" if target else "for this machine (cc)"
        raise InputError(f"C compiler {wanted}: expected ziglang, got none; pip install stillhouse[circuits]")
    return [sys.executable, "-m", "ziglang", "cc", *(["-target", target] if target else [])]


def run(command: Sequence[str], folder: str | Path, *, stdin: Path | None = None, limit: float | None = None) -> str:
    """What a program prints, with a file as its input.

    Raises:
        InputError: it cannot be started, or ended with an error; its last lines; or it took more than `limit` seconds.
    """
    given = stdin.open("rb") if stdin else None
    try:
        running = subprocess.Popen(
            command, cwd=folder, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            out, err = running.communicate(timeout=limit)
        except BaseException:  # what it started goes with it
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            raise
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{Path(command[0]).name}: expected an end within {limit:g} s, got none") from error
    except OSError as error:
        raise InputError(f"{Path(command[0]).name}: expected a program that starts, got {error}") from error
    finally:
        if given:
            given.close()
    if running.returncode:
        last = "\n".join((err or out).decode(errors="replace").strip().splitlines()[-5:])
        raise InputError(f"{Path(command[0]).name}: expected exit code 0, got {running.returncode}: {last}")
    return out.decode()


def identifier(name: str) -> str:
    """A name that C and Verilog take, and that no signal of a netlist has.

    Raises:
        InputError: another one.

    Example:
        >>> identifier("digits")
        'digits'
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or re.fullmatch(
        r"[cghosvwx]\d+(_\d+)?|best\d*|score|value|clk|x|L", name
    ):
        raise InputError(f"name: expected a letter, then letters, digits and _, and no signal's name, got {name!r}")
    return name
