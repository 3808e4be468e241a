"""The settings that a sweep tries: lists and ranges, read from words and files, as optuna draws them.

Settings are lists from `KEY=A,B`, and lists and ranges from a YAML file:

    training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    student.depth: {choices: [1, 2, 4]}
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.distributions import CategoricalDistribution as Choices

from stillhouse.core.config import ConfigError, load_yaml, read_yaml

FIXED = {"seeds": "--seeds", "arms": "the arm that ships", "name": "none"}  # what decides them in a sweep
Space = Mapping[str, Any]


def read_assignments(words: Sequence[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """`key=value` as settings of every trial, and `key=a,b,c` as lists to try.

    Example:
        >>> fixed, lists = read_assignments(["training.epochs=5", "training.learning_rate=1e-3,3e-3", "loss.tau=[[1, 2]]"])
        >>> fixed, lists["training.learning_rate"].choices
        (['training.epochs=5', 'loss.tau=[[1, 2]]'], (0.001, 0.003))

    Raises:
        ConfigError: no `=`, or values that cannot be read.
    """
    fixed: list[str] = []
    lists: dict[str, BaseDistribution] = {}
    for word in words:
        key, equals, text = word.partition("=")
        try:
            values = read_yaml(f"[{text}]")
        except yaml.YAMLError:
            values = []
        if not equals or not values:
            raise ConfigError(f"expected key=value or key=a,b,c, got {word!r}")
        if len(values) == 1:
            fixed.append(word)
        else:
            lists[key.strip()] = distribution(key, values)
    return fixed, lists


def read_space(path: Path) -> dict[str, BaseDistribution]:
    """The settings of a YAML file.

    Raises:
        ConfigError: no such file, or an entry that is neither a list nor a range.
    """
    return {str(key): distribution(f"{path}: {key}", entry) for key, entry in load_yaml(path).items()}


def distribution(where: str, entry: Any) -> BaseDistribution:
    """What optuna draws from: a list, {choices: [...]}, or a range of whole numbers where all its numbers are.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(entry, list):
        entry = {"choices": entry}
    try:
        if "choices" in entry:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that lists are no numbers or words: as JSON they come back equal
                return Choices([_number(value) for value in entry["choices"]])
        numbers = {name: _number(value) for name, value in entry.items()}
        whole = all(isinstance(value, int) for value in numbers.values())
        return (IntDistribution if whole else FloatDistribution)(**numbers)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: expected a list, {{choices: [...]}} or {{low, high, log, step}}: {error}"
        ) from None


def _number(value: Any) -> Any:
    """A number as one; YAML 1.1 reads 1e-3 as a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def check_space(space: Space, build: Callable[[Mapping[str, Any]], Any]) -> None:
    """See that every value of a list, and both ends of a range, can be built, before the first trial begins.

    Raises:
        ConfigError: a setting that does not exist (with the near one), or has a value that cannot be.
    """
    ends = {
        key: entry.choices if isinstance(entry, Choices) else (entry.low, entry.high) for key, entry in space.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    for key, values in ends.items():
        if key in FIXED:
            raise ConfigError(f"{key}: nothing to sweep: decided by {FIXED[key]}")
        for value in values:
            build({**first, key: value})


def grid(space: Space) -> list[dict[str, Any]]:
    """Every point of a space of lists, the last setting fastest; none where a range is among them."""
    lists = [entry.choices for entry in space.values() if isinstance(entry, Choices)]
    return [dict(zip(space, point)) for point in itertools.product(*lists)] if len(lists) == len(space) else []


def space_mapping(space: Space) -> dict[str, Any]:
    """Plain data: two sweeps of one space have the same."""
    return {key: json.loads(distribution_to_json(space[key])) for key in sorted(space)}


def as_assignment(key: str, value: Any) -> str:
    """A setting as a word of a command line.

    Example:
        >>> as_assignment("training.learning_rate", 0.003), as_assignment("arms", ["kd"])
        ('training.learning_rate=0.003', 'arms=["kd"]')
    """
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"
