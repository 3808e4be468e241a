"""Settings of every run as the catalogue stored them: a misspelt key, word or flag is seen before anything is imported.

Only what no run can have is refused here; whether a value fits is for the configuration itself, which is imported later.
`settings.txt` has a line for each class of configuration and what each of its settings is, as `setting_of` of
`cli/catalog.py` wrote it:

    takes   what its flag takes: "one", "many" or "switch"; without it there is no such flag, its parts have them
    parts   classes that it may hold
    words   the only words that it takes
    open    anything may stand in it
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from stillhouse.cli.stored import stored
from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError
from stillhouse.core.yaml_text import read_yaml

if TYPE_CHECKING:
    from stillhouse.cli.options import Parser

Setting = Mapping[str, Any]


@cache
def classes() -> Mapping[str, Mapping[str, Setting]]:
    """Class -> setting -> what it is."""
    lines = (line.split(" ", 1) for line in (stored("settings") or "").splitlines())
    return {name: json.loads(text) for name, text in lines}


def check_settings(given: Mapping[Any, Any], roots: Iterable[str], path: tuple[str, ...] = ()) -> None:
    """Refuse a key that no configuration has, and a word that a setting does not take.

    Args:
        given: settings as plain data.
        roots: classes that the whole may be of.
        path: where it stands.

    Raises:
        ConfigError: with the near key or word.
    """
    here = [classes()[root] for root in roots]
    every = {key for settings in classes().values() for key in settings}
    for key, value in given.items():
        place, found = (*path, str(key)), [settings[key] for settings in here if key in settings]
        if not found and key not in every:
            raise ConfigError(f"{'.'.join(place)}: unknown key; {nearest(str(key), [k for one in here for k in one])}")
        if not found or any(one.get("open") for one in found):
            continue
        parts = list(dict.fromkeys(part for one in found for part in one.get("parts", ())))
        if isinstance(value, str) and all("words" in one for one in found):
            _check_word(".".join(place), value, [word for one in found for word in one["words"]])
        entries = {str(n): entry for n, entry in enumerate(value)} if isinstance(value, list) else {"": value}
        for number, entry in entries.items():
            if isinstance(entry, Mapping) and parts:
                check_settings(entry, parts, (*place, number) if number else place)


def check_assignments(assignments: Iterable[str], roots: Sequence[str], *, keys_only: bool = False) -> None:
    """The same of `a.b=c`, where a number is a place in a list.

    Raises:
        ConfigError: with the near key or word.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        try:
            value = None if keys_only else read_yaml(text)
        except yaml.YAMLError:
            value = text
        for step in reversed([word for word in path.strip().split(".") if not word.isdigit()] if equals else ()):
            value = {step: value}
        check_settings(value if isinstance(value, Mapping) else {}, roots)


def check_flags(parser: Parser, words: Sequence[str], roots: Sequence[str]) -> None:
    """Refuse flags that a run cannot have, flags without their value, and words too many.

    Args:
        parser: of the command, with its own flags; left as it is.
        words: the command line.
        roots: classes that the run may be of.

    Raises:
        ConfigError: as the parser itself says it.
    """
    parser = copy.deepcopy(parser)
    group = parser.add_argument_group("settings")
    taken = {name for action in parser._actions for name in action.option_strings}
    places: dict[str, str] = {}
    for word in words:
        name = word.partition("=")[0]
        if not name.startswith("--") or name in ("--", *taken):
            continue
        found = list(settings_of(name, roots))  # of a path that several parts share, what each of them says of it
        if not found:
            raise ConfigError(f"unknown flag {name}; {nearest(name, [*taken, *_flags(roots)])}")
        takes = {one["takes"] for _, one in found}
        if takes == {"switch"}:
            group.add_argument(name, action="store_true")
        else:
            group.add_argument(name, nargs={"one": None, "many": "+"}[takes.pop()] if len(takes) == 1 else "*")
        if all("words" in one for _, one in found):
            places[name] = ".".join(found[0][0])
        taken.add(name)
    options = parser.parse(words)
    for name, place in places.items():
        allowed = [word for _, one in settings_of(name, roots) for word in one["words"]]
        value = getattr(options, name.removeprefix("--").replace("-", "_"))
        if isinstance(value, str) and value.lower() not in ("none", "null"):
            _check_word(place, value, allowed)


def _check_word(place: str, value: str, words: Sequence[Any]) -> None:
    if value not in map(str, words):
        known = list(dict.fromkeys(map(str, words)))
        shown = " or ".join(part for part in (", ".join(map(repr, known[:-1])), repr(known[-1])) if part)
        raise ConfigError(f"{place}: expected {shown}, got {value!r}; {nearest(value, known)}")


def settings_of(name: str, roots: Iterable[str]) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """The settings that a flag may mean: `--training-epochs`, `--epochs`, `--no-resume`."""
    for text, switch in ((name.removeprefix("--"), False), (name.removeprefix("--no-"), name.startswith("--no-"))):
        for path, one in [*_spelled(text, roots), *_named(text, roots)]:
            if "takes" in one and (one["takes"] == "switch" or not (switch or text != name.removeprefix("--"))):
                yield path, one


def _spelled(text: str, roots: Iterable[str], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """By the whole path; entries of a list are numbered."""
    for root in roots:
        for key, one in classes()[root].items():
            start = key.replace("_", "-")
            if text == start:
                yield (*path, key), one
            elif text.startswith(f"{start}-") and "parts" in one:
                rest = re.sub(r"^\d+-", "", text[len(start) + 1 :])
                yield from _spelled(rest, one["parts"], (*path, key))


def _named(text: str, roots: Iterable[str]) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """By the last word of it, wherever that stands."""
    for path, one in _within(roots):
        if path[-1].replace("_", "-") == text:
            yield path, one


def _flags(roots: Iterable[str]) -> Iterator[str]:
    """Flags to be suggested: short ones of everything, long ones of what is in no list."""
    for path, _ in _within(roots):
        yield "--" + path[-1].replace("_", "-")
        yield "--" + "-".join(path).replace("_", "-")


def _within(roots: Iterable[str]) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """Every setting of some classes and of the parts that they may hold, each class once."""
    queue: list[tuple[tuple[str, ...], str]] = [((), root) for root in roots]
    seen: set[str] = set()
    for path, name in queue:
        if name not in seen:
            seen.add(name)
            for key, one in classes()[name].items():
                yield (*path, key), one
                queue += [((*path, key), part) for part in one.get("parts", ())]
