"""Pages of `--help` and `list`, written once and shipped: a command that only explains itself must not wait for torch.

python -m stillhouse.cli.catalog      writes every page anew; a test fails when they no longer fit the commands

`distill.txt` is the short page of a command, `distill.full.txt` (of commands with many flags) that of `--help-all`, from which
the groups are cut; `list.all.txt` is what `list` prints, `recipes.txt` the names that are looked up before anything is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from stillhouse.core.checks import InputError, nearest

PAGES = Path(__file__).parent / "pages"
WIDTH = 110
HELP = ("-h", "--help", "help")
LINES = 40  # of a short page, at most
SINGLE = (
    *("demo", "distill", "check", "cache", "train-teacher", "evaluate", "export", "predict", "compare", "sweep"),
    *("verify", "report", "vision", "list"),
)
OF_FAMILIES = {
    "sar": ("simulate", "train", "distill", "compare", "stream", "evaluate"),
    "lm": ("train-teacher", "cache", "distill", "evaluate", "generate", "export"),
    "embed": ("capture", "distill", "evaluate", "encode", "explore", "export"),
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    *((command,) for command in SINGLE),
    *((family,) for family in OF_FAMILIES),
    *((family, command) for family, commands in OF_FAMILIES.items() for command in commands),
)


def page(words: Sequence[str]) -> str | None:
    """The stored page of a command line that asks for nothing but an explanation; None for any other line.

    Example:
        >>> page(["distill", "--help"]).splitlines()[0], page(["distill", "digits"])
        ('usage: stillhouse distill RECIPE|FILE.yaml [options]', None)

    Raises:
        InputError: a group of flags that there is not.
    """
    if tuple(words) == ("list",):
        return _stored("list.all")
    command = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    rest = list(words[len(command) :])
    if command not in COMMANDS or not rest:
        return None
    name = "-".join(command)
    every = _stored(f"{name}.full") or _stored(name)
    if rest == ["--help-all"]:
        return every
    if rest[0] not in HELP or every is None or len(rest) > 2:
        return None
    return _stored(name) if len(rest) == 1 else group_of(every, rest[1], f"stillhouse {' '.join(command)}")


def groups_of(page: str) -> list[str]:
    """Names of the groups of flags on a page: the first words of their headings.

    Example:
        >>> groups_of("options:\\n  --out DIR\\n\\ntraining.doctor:\\n  --every N\\n\\nexamples:\\n  x\\n")
        ['options', 'training']
    """
    return list(dict.fromkeys(key for key, _ in _sections(page)))


def group_of(page: str, group: str, command: str) -> str:
    """The flags of one group of a page.

    Raises:
        InputError: there is no such group.
    """
    found = [text for key, text in _sections(page) if key == group]
    if not found:
        hint = f"; of one recipe: `{command} {group} --help`" if "RECIPE" in page.split("\n", 1)[0] else ""
        raise InputError(f"--help {group}: no such group of flags; {nearest(group, groups_of(page))}{hint}")
    return "\n\n".join(found) + "\n"


def recipes() -> dict[str, list[str]]:
    """Names of recipes by the kind of command that takes them, known before anything is imported."""
    lines = (line.split() for line in (_stored("recipes") or "").splitlines())
    return {kind: names for kind, *names in lines}


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


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """(group, text) of each heading on a page that has flags under it."""
    for text in re.split(r"\n\n(?=\S)", page.rstrip("\n")):
        heading, _, body = text.partition("\n")
        if heading.endswith(":") and body.startswith("  -"):
            yield re.split(r"[. :]", heading)[0], text


def _stored(name: str) -> str | None:
    path = PAGES / f"{name}.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else None


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
