"""Stored pages of `--help` and `list`: found and cut into groups; nothing is imported for that.

`distill.txt` is the short page of a command, `distill.full.txt` (of commands with many flags) that of `--help-all`, from which
the groups are cut; `list.all.txt` is what `list` prints, `recipes.txt` and `settings.txt` are names that are looked up before
anything is imported.
`cli/catalog.py` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stillhouse.core.checks import InputError, nearest

PAGES = Path(__file__).parent / "pages"
WIDTH = 110
HELP = ("-h", "--help", "help")
LINES = 40  # of a short page, at most
SINGLE = (
    *("demo", "distill", "check", "cache", "train-teacher", "evaluate", "export", "predict", "compare", "sweep"),
    *("verify", "report", "vision", "list", "documents"),
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
        return stored("list.all")
    command = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    rest = list(words[len(command) :])
    if command not in COMMANDS or not rest:
        return None
    name = "-".join(command)
    every = stored(f"{name}.full") or stored(name)
    if rest == ["--help-all"]:
        return every
    if rest[0] not in HELP or every is None or len(rest) > 2:
        return None
    return stored(name) if len(rest) == 1 else group_of(every, rest[1], f"stillhouse {' '.join(command)}")


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


def recipes(kind: str, family: str = "") -> dict[str, str]:
    """Names of recipes with the class of their configurations, known before anything is imported.

    Args:
        kind: `run` or `teacher`.
        family: only its recipes.
    """
    lines = (line.split() for line in (stored("recipes") or "").splitlines())
    found = {name: of for one, of, *names in lines if one == kind for name in names}
    return {name: of for name, of in sorted(found.items()) if of.startswith(f"families.{family}.") or not family}


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """(group, text) of each heading on a page that has flags under it."""
    for text in re.split(r"\n\n(?=\S)", page.rstrip("\n")):
        heading, _, body = text.partition("\n")
        if heading.endswith(":") and body.startswith("  -"):
            yield re.split(r"[. :]", heading)[0], text


def stored(name: str) -> str | None:
    """The text of a page; None where there is none."""
    path = PAGES / f"{name}.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else None
