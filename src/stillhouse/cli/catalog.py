"""Writes the stored pages of `--help` and `list`: a command that only explains itself must not wait for torch.

python -m stillhouse.cli.catalog      writes every page anew; a test fails when they no longer fit the commands
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import IO, Any

from stillhouse.cli.stored import COMMANDS, OF_FAMILIES, PAGES, WIDTH
from stillhouse.core.config import members, parts_beside, settings
from stillhouse.core.flags import Flag, holds_configs, takes_plain


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
    found = _known_recipes()
    yield "recipes", "".join(f"{' '.join([kind, of_class(of), *names])}\n" for (kind, of), names in found.items())
    settings_of: dict[type, dict[str, Any]] = {}
    for _, of in found:
        _describe(of, settings_of)
    yield "settings", "".join(f"{of_class(of)} {json.dumps(about)}\n" for of, about in settings_of.items())
    for command in COMMANDS:
        short = written([*command, "--help"])
        yield "-".join(command), short
        if len(command) == 1 and command[0] in OF_FAMILIES:
            continue
        if (full := written([*command, "--help-all"])) != short:
            yield f"{'-'.join(command)}.full", full


def _known_recipes() -> dict[tuple[str, type], list[str]]:
    """The names of recipes by what takes them and the class of their configuration."""
    from stillhouse.recipes import known, known_teachers

    found: dict[tuple[str, type], list[str]] = {}
    for kind, recipes in (("run", known()), ("teacher", known_teachers())):
        for name in sorted(recipes):
            found.setdefault((kind, type(recipes[name]())), []).append(name)
    return found


def of_class(kind: type) -> str:
    """The name of a class of configuration; two modules may have one of the same."""
    return f"{kind.__module__.removeprefix('stillhouse.')}.{kind.__name__}"


def _describe(kind: type, found: dict[type, dict[str, Any]]) -> None:
    """What `stored_settings` reads of a class, and of every class within."""
    if kind in found:
        return
    beside = [(name, part) for name, _, parts in parts_beside(kind) for part in parts.values()]
    found[kind] = {name: _setting(name, info.annotation, found) for name, info in settings(kind).items()}
    for name, part in beside:  # written beside: its settings are those of the whole, its kind is a word
        _describe(part, found)
        found[kind] |= {key: one for key, one in found[part].items() if key != "kind" and key not in settings(kind)}
        words = [*found[kind][name].get("words", ()), *found[part]["kind"]["words"]]
        found[kind][name] |= {"takes": "one", "words": list(dict.fromkeys(words))}


def _setting(name: str, annotation: Any, found: dict[type, dict[str, Any]]) -> dict[str, Any]:
    flag, about = Flag((name,), annotation, None, ""), dict[str, Any]()
    if name != "kind" and (takes_plain(annotation) or not holds_configs(annotation)):
        about["takes"] = "switch" if flag.is_bool else "many" if flag.is_list else "one"
    leaves = list(_leaves(annotation))
    parts = [leaf for leaf in leaves if isinstance(leaf, type) and is_dataclass(leaf)]
    for part in parts:
        _describe(part, found)
    if parts:
        about["parts"] = [of_class(part) for part in parts]
    if flag.choices and all(typing.get_origin(member) is typing.Literal for member in members(annotation)):
        about["words"] = list(flag.choices)
    if any(leaf is Any or typing.get_origin(leaf) in (dict, Mapping) for leaf in leaves):
        about["open"] = True
    return about


def _leaves(annotation: Any) -> Iterator[Any]:
    """What a value, or an entry of a list of values, may be."""
    for member in members(annotation):
        if typing.get_origin(member) in (tuple, list):
            for entry in typing.get_args(member):
                yield from _leaves(entry)
        else:
            yield member


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
