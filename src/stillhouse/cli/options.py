"""Flags made from a configuration: one schema for `--set a.b=c`, `--a-b c` and YAML, with a near name for a wrong flag."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import yaml

from stillhouse.cli.stored import WIDTH, group_of, groups_of
from stillhouse.cli.stored_settings import check_flags
from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, dump_yaml, parse, place, to_mapping
from stillhouse.core.flags import Flag, flags, takes_plain

T = TypeVar("T")
TRAINING = {  # the flags of every training that people use
    "--out": "",
    "--resume": "",
    "--epochs": "",
    "--batch-size": "",
    "--learning-rate": "peak of the schedule",
    "--threads": "CPU threads; auto: one or all, whichever is faster",
    "--device": "where to compute [auto]",
}
RUNS = {**TRAINING, "--seeds": ""}
CONFIG = {"--set": "", "--print-config": "", "--quiet": ""}
TEACHERS = {
    "--teacher-source": "builtin:digits, timm:NAME, torchvision:NAME, py:FILE.py:CLASS, ckpt:FILE, run:FOLDER, cache:FOLDER",
    "--teacher-checkpoint": "your own weights of such a network; nothing is fetched then",
}
DATA = {
    "--data-name": "mnist, cifar10, folder (of class folders), npz, ...; see `stillhouse list`",
    "--data-root": "where it lies",
}


class Parser(argparse.ArgumentParser):
    """argparse with a short page of help, errors of one line, and no guessing of abbreviated flags.

    `--help` shows the flags that people use, `--help-all` every one, `--help GROUP` one group of them.

    Args:
        common: flag -> its text on the short page, or "" for its own; without any the short page shows all flags.
        examples: a line each, on both pages.
        known_as: short flag -> flag, where words are translated before they are parsed.
        kwargs: of argparse; `epilog` stands on the page of all flags where there are `common` ones.
    """

    def __init__(
        self,
        common: Mapping[str, str] | None = None,
        examples: str = "",
        known_as: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False, **kwargs
        )
        self.common, self.examples = dict(common or {}), examples.strip("\n")
        self.known_as = dict(known_as or {})
        self.add_argument("-h", "--help", action=_Help, nargs="?", metavar="GROUP", help=argparse.SUPPRESS)
        self.add_argument("--help-all", action=_Help, nargs=0, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raise one line and a hint instead of printing the usage and leaving."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; an unknown flag is an error that names the near one."""
        parsed, rest = self.parse_known_args(list(arguments))
        if rest:
            known = [name for action in self._actions for name in action.option_strings]
            wrong = next((word for word in rest if word.startswith("-")), rest[0])
            if wrong.startswith("-"):
                raise ConfigError(f"unknown flag {wrong.split('=')[0]}; {nearest(wrong.split('=')[0], known)}")
            raise ConfigError(f"unexpected argument {wrong!r}; see `{self.prog} --help`")
        return parsed

    def format_usage(self) -> str:
        """One line: what must be given."""
        if self.usage is not None:
            return f"usage: {self.usage}\n"
        words = [f"{action.option_strings[0]} {_metavar(action)}" for action in self._visible() if action.required]
        for action in self._arguments():
            name = _metavar(action)
            words.append({"+": f"{name}...", "*": f"[{name}...]"}.get(str(action.nargs), name))
        return f"usage: {' '.join([self.prog, *words])} [options]\n"

    def format_help(self) -> str:
        """The short page."""
        rows = [(_metavar(action), _text(self, action)) for action in self._arguments()]
        offered = {name: action for action in self._visible() for name in action.option_strings}
        for name in self.common or [action.option_strings[0] for action in self._visible()]:
            if (flag := offered.get(self.known_as.get(name, name))) is not None:
                rows.append((f"{name} {_metavar(flag)}".rstrip(), self.common.get(name) or _text(self, flag)))
        parts = [self.format_usage().rstrip(), _wrapped(self.description or "", 0), "\n".join(_aligned(rows))]
        if not self.common and self.epilog:
            parts.append(self.epilog.strip("\n"))
        if self.examples:
            parts.append(f"examples:\n{self.examples}")
        if self.common:
            count = sum(1 for action in self._actions if action.help != argparse.SUPPRESS)
            groups = ", ".join(groups_of(self.format_all()))
            parts.append(f"all {count} flags: --help-all   one group: --help GROUP\n{_wrapped(f'groups: {groups}', 8)}")
        return "\n\n".join(part for part in parts if part) + "\n"

    def format_all(self) -> str:
        """The page of all flags, by groups."""
        if not self.common:
            return self.format_help()
        usage, epilog = self.usage, self.epilog
        examples = f"examples:\n{self.examples}" if self.examples else ""
        try:
            self.usage = self.format_usage().removeprefix("usage: ").strip().replace("%", "%%")
            self.epilog = "\n\n".join(part for part in (examples, (epilog or "").strip("\n")) if part)
            return super().format_help()
        finally:
            self.usage, self.epilog = usage, epilog

    def _arguments(self) -> list[argparse.Action]:
        return [action for action in self._actions if not action.option_strings]

    def _visible(self) -> list[argparse.Action]:
        return [action for action in self._actions if action.option_strings and action.help != argparse.SUPPRESS]


class _Help(argparse.Action):
    """Print the page that is asked for and leave."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default=argparse.SUPPRESS, **{**kwargs, "dest": argparse.SUPPRESS})

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> NoReturn:
        """Short, all, or one group."""
        assert isinstance(parser, Parser)
        if option_string == "--help-all":
            sys.stdout.write(parser.format_all())
        elif values is None:
            sys.stdout.write(parser.format_help())
        else:
            sys.stdout.write(group_of(parser.format_all(), str(values), parser.prog))
        raise SystemExit(0)


def _metavar(action: argparse.Action) -> str:
    """What follows a flag, in one short word."""
    if action.nargs == 0:
        return ""
    words = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    words = words[0] if isinstance(words, tuple) else words
    if len(words) > 24:
        words = action.option_strings[-1].rpartition("-")[2].upper()
    return words.rpartition("_")[2] if words.isupper() else words


def _text(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _aligned(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Rows in two columns, as wide as a page."""
    left = min(28, max((len(name) for name, _ in rows), default=0)) + 4
    for name, text in rows:
        first = f"  {name}"
        room = WIDTH - left
        lines = textwrap.wrap(" ".join(text.split()), room, break_on_hyphens=False) or [""]
        if len(first) + 2 > left:
            yield first
        else:
            lines[0] = f"{first:<{left}}{lines[0]}"
            yield lines.pop(0).rstrip()
        yield from (" " * left + line for line in lines)


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def add_config_options(parser: Parser) -> None:
    """`--set` and `--print-config`, which every command with a configuration has."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting: --set training.epochs=5"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration as YAML and exit")


def read_config(
    parser: Parser,
    arguments: Sequence[str],
    load: Callable[[str, Sequence[str]], T],
    default: str,
    metavar: str = "RECIPE|FILE.yaml",
    about: str = "name of a recipe (see `stillhouse list`), or a YAML file",
    *,
    roots: Mapping[str, str],
) -> tuple[argparse.Namespace, T]:
    """Parse a command whose first argument is a recipe: its configuration decides which flags there are.

    Args:
        parser: with its own options; `recipe` is added here.
        arguments: the words after the command.
        load: (recipe, assignments) -> configuration.
        default: the recipe whose flags `--help` shows when none is named.
        metavar: the word for the first argument.
        about: its help.
        roots: the recipes that may be named, with the class of their configurations (see `stored.recipes`).

    Returns:
        The parsed options and the configuration with all changes carried out.
    """
    parser.add_argument("recipe", nargs="?", metavar=metavar, help=about)
    add_config_options(parser)
    recipe = _recipe_of(parser, arguments)
    asks_help = any(word.partition("=")[0] in {"-h", "--help", "--help-all"} for word in arguments)
    if recipe is None and not asks_help:
        raise ConfigError(f"which recipe? Try `{parser.prog} {default}`, or `stillhouse list`")
    if not asks_help:
        known = roots.get(str(recipe))
        check_flags(parser, arguments, [known] if known else sorted(set(roots.values())))
    base = load(recipe or default, ())
    offered = _add_flags(parser, base)
    options = parser.parse(arguments)
    # --set may change the shape (which signals, a teacher or none, another family's student), so flags come after it
    chosen = [(flag, value) for flag in offered if (value := getattr(options, flag.name)) is not None]
    given = [f"{'.'.join(flag.path)}={json.dumps(_value(flag, value))}" for flag, value in chosen]
    try:
        changed = load(recipe or default, options.set)
    except (
        ConfigError
    ):  # a setting may be wrong of the recipe and right with a flag beside it, as data.stream with --data-name
        try:
            changed = load(recipe or default, [*given, *options.set])
        except ConfigError:
            given = []
        if not given:
            raise
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
        # of several the loop's own: --learning-rate is that of the training in every family
        if (short[flag.path[-1]] == 1 or flag.path[:-1] == ("training",)) and alias not in {*long, *taken}:
            names.append(alias)
        if taken.intersection(names):
            continue
        section = ".".join(flag.path[:-1]) or "run"
        group = groups.setdefault(section, parser.add_argument_group(section))
        settings: dict[str, Any] = {"dest": flag.name, "default": None}
        settings["help"] = _with_default(flag).replace("%", "%%")
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


def _with_default(flag: Flag) -> str:
    """The help of a flag with its default; one that says itself what none stands for needs no second bracket."""
    said = flag.default is None and flag.help.rstrip().endswith("]")
    return flag.help if said else f"{flag.help} [{_shown(flag.default)}]"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _value(flag: Flag, given: Any) -> Any:
    if flag.is_bool:
        return given
    if flag.is_list:
        words = [_plain(word) for text in given for word in text.split(",") if word]
        # a path of layers, or a list of one path: not the same
        alone = len(words) == 1 and takes_plain(flag.annotation)
        return words[0] if alone and "," not in given[0] else words
    return given if given in flag.choices else _plain(given)  # "none" may be one of the words


def _plain(text: str) -> Any:
    """A word of the command line as YAML would read it; `none` is nothing."""
    if text.lower() in {"none", "null"}:
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    kinds = (int, float, bool, dict) if text.lstrip().startswith("{") else (int, float, bool)  # `timm:` is no mapping
    return value if isinstance(value, kinds) else text
