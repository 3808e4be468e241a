"""Flags of `stillhouse embed`: documented names, short ones, dashes and underscores alike."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from stillhouse.core.config import ConfigError

Change = dict[str, Any]
ALIASES = {"--save-dir": "--out", "--teacher-checkpoint": "", "--vectors": ""}
DOCUMENTED = (
    *("student-dim", "alpha", "tau", "loss-type", "curriculum-stages", "curriculum-tau-schedule", "schedule-type"),
    *("max-epochs", "validation-split", "early-stopping-patience", "save-every"),
)
# a text student has settings of these names too; the short flag is the vector student's
SHORT = {
    "perplexity": "lesson-perplexity",
    "neighbor-weight": "lesson-neighbor-weight",
    "hidden": "student-hidden",
}


def take_documented(words: list[str]) -> tuple[list[str], dict[str, str], Change, list[str]]:
    """Documented flags taken out of the words.

    Returns:
        The rest, values that decide which flags there are, what the flags change, and a line for each that changes nothing.

    Raises:
        ConfigError: a flag without its value, or one of another kind.
    """
    rest: list[str] = []
    given: Change = {}
    early: dict[str, str] = {}
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        at += 1
        key = name.removeprefix("--")
        if not name.startswith("--"):
            rest.append(words[at - 1])
        elif key == "curriculum":
            if not equals and at < len(words) and words[at].lower() in ("true", "false"):
                equals, value = "=", words[at]
                at += 1
            given[key] = _switch(name, value) if equals else True
        elif key in DOCUMENTED or name in ALIASES or key in ("recipe", "student"):
            values = [value] if equals else []
            many = 2 if key == "curriculum-tau-schedule" else 1
            while not equals and at < len(words) and not words[at].startswith("--") and len(values) < many:
                values += words[at].split(",") if many > 1 else [words[at]]
                at += 1
            if not values:
                raise ConfigError(f"{name}: expected a value")
            if key == "tau" and "," in values[0]:  # one a stage is a setting of ours; the documented tau is one number
                rest += ["--lesson-tau", values[0]]
            elif key in DOCUMENTED:
                parts = [part for text in values for part in (text.split(",") if many > 1 else [text])]
                given[key.replace("-", "_")] = [_plain(part) for part in parts] if many > 1 else _plain(values[0])
            elif name in ALIASES:
                rest += [ALIASES[name], values[0]] if ALIASES[name] else values
            else:
                early[key] = values[0]
                rest += [name, values[0]]
        else:
            rest.append(f"--{SHORT.get(key, key)}{equals}{value}")
    change: Change = {}
    if given:
        from stillhouse.families.embed.recipes import PRESETS, documented

        every = given.pop("save_every", None)
        change = documented(given, PRESETS.get(early.get("recipe", "")))
        if every is not None:
            return (
                rest,
                early,
                change,
                ["--save-every: the state is saved after every validation, and each minute between"],
            )
    return rest, early, change, []


def nearer(error: ConfigError) -> ConfigError:
    """An unknown flag that is nearly a short or documented one, of which the parser does not know."""
    found = re.match(r"unknown flag --([\w-]+);", str(error))
    near = difflib.get_close_matches(found[1], [*SHORT, *DOCUMENTED], n=1, cutoff=0.8) if found else []
    return ConfigError(f"unknown flag --{found[1]}; did you mean '--{near[0]}'?") if found and near else error


def leaves(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`a.b` and value of every entry; an empty mapping is a value.

    Example:
        >>> leaves({"a": {"b": 1, "c": {}}})
        [('a.b', 1), ('a.c', {})]
    """
    found: list[tuple[str, Any]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found


def dashed(word: str) -> str:
    """`--student_dim=3` as `--student-dim=3`; values keep their underscores.

    Example:
        >>> dashed("--student_dim=my_value"), dashed("my_file.yaml")
        ('--student-dim=my_value', 'my_file.yaml')
    """
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _switch(name: str, text: str) -> bool:
    value = yaml.safe_load(text)
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected true or false, got {text!r}")
    return value


def _plain(text: str) -> Any:
    value = yaml.safe_load(text)
    return value if isinstance(value, (int, float, bool)) else text
