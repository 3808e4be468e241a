"""Flags that are other names of settings: a table NAME -> path of the setting, read by one parser. No torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from stillhouse.core.checks import ConfigError

Table = Mapping[str, str]
"""`--flag` -> path of a setting, or several with blanks between them.

A path that ends in `?` is a switch (`--flag`, `--no-flag`), one in `*` takes one value or several, one in `+` always a list.
"""


def add_aliases(parser: argparse.ArgumentParser, table: Table, texts: Mapping[str, str] | None = None) -> None:
    """Offer every flag of a table.

    Args:
        parser: that gets them.
        table: name of each -> path.
        texts: the help of some; the others name their setting.
    """
    for name, path in table.items():
        settings: dict[str, Any] = {"dest": name, "default": None}
        settings["help"] = (texts or {}).get(name, f"sets {path.rstrip('?*+').split()[0]}")
        if path.endswith("?"):
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings |= {"metavar": "VALUE", "nargs": "+" if path[-1] in "*+" else None}
        parser.add_argument(name, **settings)


def given_settings(options: argparse.Namespace, table: Table) -> Iterator[tuple[str, Any]]:
    """(path, value) of every flag that was given.

    Raises:
        ConfigError: two flags of one setting.
    """
    names: dict[str, str] = {}
    for name, path in table.items():
        value = getattr(options, name)
        if value is None:
            continue
        if isinstance(value, list):
            words = [plain(word) for text in value for word in text.split(",") if word]
            value = words[0] if len(words) == 1 and path[-1] == "*" else words
        elif isinstance(value, str):
            value = plain(value)
        for one in path.rstrip("?*+").split():
            if one in names:
                raise ConfigError(f"{name} and {names[one]} mean the same ({one}); give one of them")
            names[one] = name
            yield one, value


def plain(text: str) -> Any:
    """A word of the command line as YAML reads it: a number, true or false, `null` as nothing, else the text.

    Example:
        >>> plain("3"), plain("null"), plain("none"), plain("timm:resnet18")
        (3, None, 'none', 'timm:resnet18')
    """
    if text.lower() == "null":
        return None
    import yaml  # not to be waited for where help is asked for

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (int, float, bool)) else text


def dashed(word: str) -> str:
    """A flag with dashes for underscores, as documents spell some; values keep theirs.

    Example:
        >>> dashed("--student_dim=my_value"), dashed("my_file.yaml")
        ('--student-dim=my_value', 'my_file.yaml')
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word
