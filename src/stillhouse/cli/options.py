"""Flags made from a configuration: one schema for `--set a.b=c`, `--a-b c` and YAML, with a near name for a wrong flag."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import yaml

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, Flag, dump_yaml, flags, parse, place, to_mapping

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """argparse with errors of our own kind and no guessing of abbreviated flags."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(f"{message}\n{self.format_usage().strip()}")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; an unknown flag is an error that names the near one."""
        parsed, rest = self.parse_known_args(list(arguments))
        if rest:
            known = [name for action in self._actions for name in action.option_strings]
            wrong = next((word for word in rest if word.startswith("-")), rest[0])
            if wrong.startswith("-"):
                raise ConfigError(f"unknown flag {wrong.split('=')[0]}; {nearest(wrong.split('=')[0], known)}")
            raise ConfigError(f"unexpected argument {wrong!r}")
        return parsed


def add_config_options(parser: Parser) -> None:
    """`--set` and `--print-config`, which every command with a configuration has."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting: --set training.epochs=5"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration as YAML and exit")


def read_config(
    parser: Parser, arguments: Sequence[str], load: Callable[[str, Sequence[str]], T], default: str
) -> tuple[argparse.Namespace, T]:
    """Parse a command whose first argument is a recipe: its configuration decides which flags there are.

    Args:
        parser: with its own options; `recipe` is added here.
        arguments: the words after the command.
        load: (recipe, assignments) -> configuration.
        default: the recipe whose flags `--help` shows when none is named.

    Returns:
        The parsed options and the configuration with all changes carried out.
    """
    parser.add_argument("recipe", nargs="?", help="name of a recipe (see `stillhouse list`) or a YAML file")
    add_config_options(parser)
    recipe = _recipe_of(parser, arguments)
    asks_help = any(word in {"-h", "--help"} for word in arguments)
    if recipe is None and not asks_help:
        raise ConfigError(f"which recipe? Try `{parser.prog} {default}`, or `stillhouse list`")
    base = load(recipe or default, ())
    offered = _add_flags(parser, base)
    options = parser.parse(arguments)
    # --set may change the shape (which signals, a teacher or none, another family's student), so flags come after it
    changed = load(recipe or default, options.set)
    mapping = to_mapping(changed)
    for flag in offered:
        value = getattr(options, flag.name)
        if value is not None:
            place(mapping, flag.path, _value(flag, value))
    return options, parse(type(changed), mapping)


def print_config(config: Any) -> None:
    """Print a configuration as YAML."""
    sys.stdout.write(dump_yaml(config))


def _recipe_of(parser: Parser, arguments: Sequence[str]) -> str | None:
    """The first word that is no flag nor the value of one of the parser's own flags."""
    takes_value = {n for a in parser._actions if a.nargs != 0 and a.option_strings for n in a.option_strings}
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in takes_value
        else:
            return word
    return None


def _add_flags(parser: Parser, config: Any) -> list[Flag]:
    offered = list(flags(config))
    short = Counter(flag.path[-1] for flag in offered)
    taken = {name for action in parser._actions for name in action.option_strings}
    long = {flag.name for flag in offered}  # signals.1.student_heads must not take the name of student.heads
    groups: dict[str, Any] = {}
    kept = []
    for flag in offered:
        names = [flag.name]
        alias = "--" + flag.path[-1].replace("_", "-")
        if short[flag.path[-1]] == 1 and alias not in {*long, *taken}:
            names.append(alias)
        if taken.intersection(names):
            continue
        section = ".".join(flag.path[:-1]) or "run"
        group = groups.setdefault(section, parser.add_argument_group(section))
        settings: dict[str, Any] = {"dest": flag.name, "default": None}
        settings["help"] = f"{flag.help} [{_shown(flag.default)}]".replace("%", "%%")
        if flag.is_bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings["metavar"] = (
                "|".join(map(str, flag.choices)) if flag.choices and not flag.is_list else flag.path[-1].upper()
            )
            settings["nargs"] = "+" if flag.is_list else None
        group.add_argument(*names, **settings)
        kept.append(flag)
    return kept


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _value(flag: Flag, given: Any) -> Any:
    if flag.is_bool:
        return given
    if flag.is_list:
        return [_plain(word) for text in given for word in text.split(",") if word]
    return given if given in flag.choices else _plain(given)  # "none" may be one of the words


def _plain(text: str) -> Any:
    """A word of the command line as YAML would read it; `none` is nothing."""
    if text.lower() in {"none", "null"}:
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (int, float, bool, dict)) else text
