"""What commands have in common: errors of one line, a dozen flags, and `key=value` for every other setting."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from stillhouse.compat.aliases import add_aliases, given_settings
from stillhouse.core.checks import ConfigError, nearest

WIDTH = 110
TRAINING = {
    "--epochs": "training.epochs",
    "--learning-rate": "training.learning_rate",
    "--batch-size": "training.batch_size",
    "--threads": "training.threads",
    "--device": "training.device",
}
RUNS = {**TRAINING, "--seeds": "seeds"}
TEXTS = {
    "--epochs": "passes over the training rows",
    "--learning-rate": "peak of the schedule",
    "--batch-size": "rows of a step",
    "--threads": "CPU threads; auto: one or all, whichever is faster",
    "--device": "where to compute: auto, cpu, cuda",
    "--seeds": "trainings of each arm, from different starts",
}
SETTINGS = """every other setting is KEY=VALUE: training.optimizer=adamw student.kind=flat-tm 'arms=[kd, no-kd]'
(or --set KEY=VALUE); --print-config prints all of them with their values; a part of another kind has that kind's defaults"""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, no guessing of abbreviated flags, and `key=value` where settings are taken."""

    def __init__(self, examples: str = "", **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, add_help=False, **kwargs)
        self.examples, self.takes_settings, self.settings = examples.strip("\n"), False, ""
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raise one line and a hint instead of printing the usage and leaving."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; an unknown flag is an error that names the near one."""
        settings = self._settings_of(arguments) if self.takes_settings else {}
        parsed, rest = self.parse_known_args([word for at, word in enumerate(arguments) if at not in settings])
        if flag := next((word.partition("=")[0] for word in rest if word.startswith("-")), None):
            known = [name for action in self._actions for name in action.option_strings]
            hint = "; other settings are KEY=VALUE" if self.takes_settings else ""
            raise ConfigError(f"unknown flag {flag}; {nearest(flag, known)}{hint}")
        if self.takes_settings:
            parsed.set = [*parsed.set, *settings.values()]
        if rest:
            raise ConfigError(f"unexpected argument {rest[0]!r}; see `{self.prog} --help`")
        return parsed

    def _settings_of(self, arguments: Sequence[str]) -> dict[int, str]:
        """Place and text of each `key=value` that is not the value of a flag."""
        single = {name for action in self._actions if action.nargs is None for name in action.option_strings}
        pairs = zip(["", *arguments], arguments)
        return {at: word for at, (before, word) in enumerate(pairs) if is_setting(word) and before not in single}

    def add_settings(self) -> None:
        """Take KEY=VALUE, `--set KEY=VALUE` and `--print-config`."""
        self.takes_settings, self.settings = True, SETTINGS
        self.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="the same as KEY=VALUE alone")
        self.add_argument("--print-config", action="store_true", help="print the whole configuration as YAML and exit")

    def format_usage(self) -> str:
        """One line: what must be given."""
        if self.usage is not None:
            return f"usage: {self.usage}\n"
        words = [
            f"{a.option_strings[0]} {a.metavar or a.dest.upper()}"
            for a in self._actions
            if a.required and a.option_strings
        ]
        for action in self._actions:
            if not action.option_strings:
                name = str(action.metavar or action.dest.upper())
                words.append({"+": f"{name}...", "*": f"[{name}...]"}.get(str(action.nargs), name))
        settings = " [KEY=VALUE...]" * self.takes_settings
        return f"usage: {' '.join([self.prog, *words])}{settings} [options]\n"

    def format_help(self) -> str:
        """Usage, what it does, flags, settings, examples."""
        usage, epilog = self.usage, self.epilog
        examples = f"examples:\n{self.examples}" if self.examples else ""
        try:
            self.usage = self.format_usage().removeprefix("usage: ").strip().replace("%", "%%")
            texts = (self.settings, (epilog or "").strip("\n"), examples)
            self.epilog = "\n\n".join(filter(None, texts))
            return super().format_help()
        finally:
            self.usage, self.epilog = usage, epilog


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=WIDTH)


def is_setting(word: str) -> bool:
    """Whether a word of the command line is `key=value`.

    Example:
        >>> is_setting("training.epochs=3"), is_setting("a/b.csv"), is_setting("--out=x")
        (True, False, False)
    """
    return re.match(r"[A-Za-z_][\w.-]*=", word) is not None


def read_config(
    parser: Parser,
    arguments: Sequence[str],
    load: str,
    *,
    aliases: Mapping[str, str],
    example: str = "digits",
) -> tuple[argparse.Namespace, Any]:
    """Parse a command whose first argument is a recipe.

    Args:
        parser: with its own options.
        arguments: the words after the command.
        load: the function of `stillhouse.recipes` that reads it, which is imported when the words are understood.
        aliases: flags that are settings.
        example: a recipe to try.

    Returns:
        The parsed options and the configuration with all changes carried out.
    """
    about = "name of a recipe (see `stillhouse list`), or a YAML file"
    parser.add_argument("recipe", nargs="?", metavar="RECIPE|FILE.yaml", help=about)
    add_aliases(parser, aliases, TEXTS)
    parser.add_settings()
    options = parser.parse(arguments)
    if options.recipe is None:
        raise ConfigError(f"which recipe? Try `{parser.prog} {example}`, or `stillhouse list`")
    read = getattr(import_module("stillhouse.recipes"), load)
    return options, read(options.recipe, options.set, dict(given_settings(options, aliases)))


def add_run_options(parser: Parser, *, force: bool = True) -> None:
    """`--out`, `--resume`, `--quiet`, and `--force` of what checks a teacher."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder [runs/NAME]")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the folder; what is finished is kept"
    )
    if force:
        parser.add_argument("--force", action="store_true", help="also with a teacher that is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def print_config(config: Any) -> int:
    """Print a configuration as YAML; the exit status."""
    from stillhouse.core.config import dump_yaml

    sys.stdout.write(dump_yaml(config))
    return 0
