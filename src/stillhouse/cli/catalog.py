"""Writes the stored pages of `--help` and `list`: a command that only explains itself must not wait for torch.

python -m stillhouse.cli.catalog      writes every page anew; a test fails when they no longer fit the commands
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO

from stillhouse.cli.stored import COMMANDS, OF_FAMILIES, PAGES, WIDTH


def written(words: Sequence[str]) -> str:
    """What a command prints when it really runs."""
    from stillhouse.cli.main import run_command

    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer), contextlib.suppress(SystemExit):
        run_command(list(words))
    return buffer.getvalue()


def pages() -> Iterator[tuple[str, str]]:
    """(name, text) of every page, from the commands themselves."""
    os.environ["COLUMNS"] = str(WIDTH)
    yield "list.all", written(["list"])
    yield "recipes", "".join(f"{kind} {' '.join(names)}\n" for kind, names in _known_recipes().items())
    for command in COMMANDS:
        short = written([*command, "--help"])
        yield "-".join(command), short
        if len(command) == 1 and command[0] in OF_FAMILIES:
            continue
        if (full := written([*command, "--help-all"])) != short:
            yield f"{'-'.join(command)}.full", full


def _known_recipes() -> dict[str, list[str]]:
    from stillhouse.recipes import known, known_teachers

    return {"run": sorted(known()), "teacher": sorted(known_teachers())}


def _fill(page: bytes, file: IO[bytes]) -> None:
    file.write(page)


def main() -> int:
    """Write every page, and remove those that there are no more."""
    from stillhouse.core.records import write_atomically  # not to be waited for where a page is only shown

    found = dict(pages())
    for name, text in found.items():
        write_atomically(PAGES / f"{name}.txt", partial(_fill, text.encode()))
        sys.stderr.write(f"{name}: {len(text.splitlines())} lines\n")
    for path in PAGES.glob("*.txt"):
        if path.stem not in found:
            path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
