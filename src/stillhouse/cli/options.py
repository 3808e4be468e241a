"""What commands have in common: errors of one line, a dozen flags, and `key=value` for every other setting. No torch."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from stillhouse.core.checks import ConfigError, nearest

TRAINING = {
    "--epochs": ("training.epochs", "passes over the training rows"),
    "--learning-rate": ("training.learning_rate", "peak of the schedule"),
    "--batch-size": ("training.batch_size", "rows of a step"),
    "--threads": ("training.threads", "CPU threads; auto: one or all, whichever is faster"),
    "--device": ("training.device", "where to compute: auto, cpu, cuda"),
}
RUNS = {**TRAINING, "--seeds": ("seeds", "trainings of each arm, from different starts")}
SETTINGS = """KEY=VALUE, anywhere, is any other setting: training.optimizer=adamw student.kind=flat-tm 'arms=[kd, no-kd]'
a part of another kind has that kind's defaults
"""
PRINTED = "--print-config prints all of them with their values\n"

Flags = Mapping[str, Any]
"""`--flag` -> path of a setting, or (path, help). Several paths have blanks between them; one that ends in `?` is a switch
(`--flag`, `--no-flag`), one in `*` takes one value or several, one in `+` always a list."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, `--a_b` for `--a-b`, flags that are names of settings, and `key=value`."""

    def __init__(self, verb: str) -> None:
        """The help of the verb is in `help.yaml`."""
        texts = help_texts()["verbs"][verb]
        super().__init__(
            prog=f"stillhouse {verb}",
            description=texts["about"],
            epilog=texts["more"],
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110),
        )
        self.takes_settings = False
        self.flags: dict[str, str] = {}

    def error(self, message: str) -> NoReturn:
        """Raise one line and a hint instead of printing the usage and leaving."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")

    def add_settings(self, *, printed: bool = True) -> None:
        """Take KEY=VALUE, and `--print-config` where they are one configuration."""
        self.takes_settings = True
        self.epilog = f"{SETTINGS}{PRINTED if printed else ''}\n{self.epilog}"
        if printed:
            self.add_argument("--print-config", action="store_true", help="print the configuration as YAML and exit")

    def add_flags(self, table: Flags) -> None:
        """Offer flags that are other names of settings."""
        for flag, row in table.items():
            path, text = (row, RUNS.get(flag, ("", f"sets {row.rstrip('?*+')}"))[1]) if isinstance(row, str) else row
            self.flags[flag] = path
            if path.endswith("?"):
                self.add_argument(flag, dest=flag, default=None, action=argparse.BooleanOptionalAction, help=text)
            else:
                many = "+" if path[-1] in "*+" else None
                self.add_argument(flag, dest=flag, metavar="VALUE", nargs=many, help=text)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; `set` holds each KEY=VALUE. An unknown flag is an error that names the near one."""
        words = [
            dashed(word.removeprefix("--set=")) for word in arguments if word != "--set" or not self.takes_settings
        ]
        settings = [word for word in words if self.takes_settings and is_setting(word)]
        parsed, rest = self.parse_known_args([word for word in words if word not in settings])
        if flag := next((word.partition("=")[0] for word in rest if word.startswith("-")), None):
            known = [name for action in self._actions for name in action.option_strings]
            more = "; other settings are KEY=VALUE" if self.takes_settings else ""
            raise ConfigError(f"unknown flag {flag}; {nearest(flag, known)}{more}")
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        parsed.set = settings
        return parsed

    def given(self, options: argparse.Namespace, flags: Flags | None = None) -> dict[str, Any]:
        """Path and value of every flag of `add_flags` that was given, or of those named.

        Raises:
            ConfigError: two flags of one setting.
        """
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        for flag, path in self.flags.items():
            value = getattr(options, flag)
            if value is None or (flags is not None and flag not in flags):
                continue
            if isinstance(value, list):
                words = [plain(word) for text in value for word in text.split(",") if word]
                value = words[0] if len(words) == 1 and path[-1] == "*" else words
            elif isinstance(value, str):
                value = plain(value)
            for one in path.rstrip("?*+").split():
                if one in names:
                    raise ConfigError(f"{flag} and {names[one]} mean the same ({one}); give one of them")
                names[one], values[one] = flag, value
        return values


@cache
def help_texts() -> dict[str, Any]:
    """`page`, and under `verbs` of each its `run` (where its function lies), `short`, `about` and `more`."""
    import yaml

    text = (Path(__file__).parent / "help.yaml").read_text(encoding="utf-8")
    texts: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return texts


def is_setting(word: str) -> bool:
    """Whether a word of the command line is `key=value`.

    Example:
        >>> is_setting("training.epochs=3"), is_setting("a/b.csv"), is_setting("--out=x")
        (True, False, False)
    """
    return re.match(r"[A-Za-z_][\w.-]*=", word) is not None


def dashed(word: str) -> str:
    """A flag with dashes for underscores, as documents spell some; values keep theirs.

    Example:
        >>> dashed("--student_dim=my_value"), dashed("my_file.yaml")
        ('--student-dim=my_value', 'my_file.yaml')
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def plain(text: str) -> Any:
    """A word of the command line as YAML reads it: a number, true or false, `null` as nothing, else the text.

    Example:
        >>> plain("3"), plain("null"), plain("none"), plain("timm:resnet18")
        (3, None, 'none', 'timm:resnet18')
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (int, float, bool)) or text.lower() == "null" else text


def read_config(
    parser: Parser, arguments: Sequence[str], load: str = "load_run", *, flags: Flags = RUNS, example: str = "digits"
) -> tuple[argparse.Namespace, Any]:
    """Parse a command whose first argument is a recipe.

    Args:
        parser: with its own options.
        arguments: the words after the command.
        load: the function of `stillhouse.recipes` that reads it, which is imported when the words are understood.
        flags: that are settings.
        example: a recipe to try.

    Returns:
        The parsed options and the configuration with all changes carried out.
    """
    about = "name of a recipe (see `stillhouse list`), or a YAML file"
    parser.add_argument("recipe", nargs="?", metavar="RECIPE|FILE.yaml", help=about)
    parser.add_flags(flags)
    parser.add_settings()
    options = parser.parse(arguments)
    if options.recipe is None:
        raise ConfigError(f"which recipe? Try `{parser.prog} {example}`, or `stillhouse list`")
    read = getattr(import_module("stillhouse.recipes"), load)
    return options, read(options.recipe, options.set, parser.given(options))


def add_run_options(parser: Parser, *, force: bool = True) -> None:
    """`--out`, `--resume`, `--quiet`, and `--force` of what checks a teacher."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder [runs/NAME]")
    about = "continue the run in the folder; what is finished is kept"
    parser.add_argument("--resume", action="store_true", help=about)
    if force:
        parser.add_argument("--force", action="store_true", help="also with a teacher that is no better than chance")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def print_config(config: Any) -> int:
    """Print a configuration as YAML; the exit status."""
    from stillhouse.core.config import dump_yaml

    sys.stdout.write(dump_yaml(config))
    return 0
