"""Which settings a sweep tries: lists from `--set`, lists and ranges from a YAML file. No torch.

training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
training.epochs: {low: 5, high: 20, step: 5}
student.depth: {choices: [1, 2, 4]}
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, load_yaml
from stillhouse.core.yaml_text import read_yaml

FIXED = {
    "seeds": "a sweep trains as many as --seeds says",
    "arms": "a sweep trains the arm that ships",
    "name": "it names the run, and changes nothing",
}
MOST_CHECKED = 200  # points of a grid that are all built before the first is trained
MOST_POINTS = 100_000


Space = Mapping[str, Any]  # setting -> optuna's distribution


def read_assignments(words: Sequence[str]) -> tuple[list[str], dict[str, CategoricalDistribution]]:
    """`key=value` as settings of every trial, and `key=a,b,c` as lists to try.

    Example:
        >>> fixed, lists = read_assignments(["training.epochs=5", "training.learning_rate=1e-3,3e-3", "loss.tau=[[1, 2]]"])
        >>> fixed, lists["training.learning_rate"].choices
        (['training.epochs=5', 'loss.tau=[[1, 2]]'], (0.001, 0.003))

    Raises:
        ConfigError: no `=`, an empty list or entry, a value twice, a key twice.
    """
    fixed: list[str] = []
    lists: dict[str, CategoricalDistribution] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set takes key=value or key=a,b,c, got {word!r}")
        values = _values(key, text)
        if len(values) == 1:
            fixed.append(word)
            continue
        if key in lists:
            raise ConfigError(f"--set {key}: expected one list, got two")
        lists[key] = _choices(key, values)
    return fixed, lists


def read_space(path: Path) -> dict[str, BaseDistribution]:
    """The settings of a YAML file.

    Raises:
        ConfigError: no such file, an empty one, or an entry that is neither a list nor a range.
    """
    found: dict[str, BaseDistribution] = {}
    for key, entry in load_yaml(path).items():
        where = f"{path}: {key}"
        if isinstance(entry, list):
            entry = {"choices": entry}
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}: expected {{low: ..., high: ...}} or {{choices: [...]}}, got {entry!r}")
        known = {"choices"} if "choices" in entry else {"low", "high", "log", "step"}
        wrong = next((str(name) for name in entry if name not in known), None)
        if wrong is not None:
            raise ConfigError(f"{where}: unknown key {wrong!r}; {nearest(wrong, known)}")
        found[str(key)] = _choices(where, entry["choices"]) if "choices" in entry else _range(where, entry)
    if not found:
        raise ConfigError(f"{path}: expected settings to try, got an empty file")
    return found


def check_space(space: Space, build: Callable[[Mapping[str, Any]], Any]) -> None:
    """See that every value can be built before the first trial begins.

    Args:
        space: settings to try.
        build: settings -> the configuration of a run; raises ConfigError.

    Raises:
        ConfigError: a setting that does not exist (with the near one), does nothing here, or has a value that cannot be.
    """
    for key in space:
        if key in FIXED:
            raise ConfigError(f"{key}: nothing to sweep: {FIXED[key]}")
    size = grid_size(space)
    if size is not None and size > MOST_POINTS:
        raise ConfigError(f"expected a grid of at most {MOST_POINTS:,} points, got {size:,}; take --space and --trials")
    ends = {key: entry.choices if _is_list(entry) else (entry.low, entry.high) for key, entry in space.items()}
    first = {key: values[0] for key, values in ends.items()}
    if size is not None and size <= MOST_CHECKED:
        points: Iterator[Mapping[str, Any]] = grid(space)
    else:
        points = ({**first, key: value} for key, values in ends.items() for value in values)
    for point in points:
        try:
            build(point)
        except ConfigError as error:
            shown = ", ".join(f"{key}={value}" for key, value in point.items())
            raise ConfigError(f"{error}\n(with {shown})") from None


def grid_size(space: Space) -> int | None:
    """Points of a space of lists; None where a range is among them."""
    return math.prod(len(entry.choices) for entry in space.values()) if all(map(_is_list, space.values())) else None


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of a space of lists, the last setting fastest.

    Example:
        >>> lists = {"a": CategoricalDistribution((1, 2)), "b": CategoricalDistribution(("x", "y"))}
        >>> [list(point.values()) for point in grid(lists)]
        [[1, 'x'], [1, 'y'], [2, 'x'], [2, 'y']]
    """
    for values in itertools.product(*(entry.choices for entry in space.values())):
        yield dict(zip(space, values, strict=True))


def to_mapping(space: Space) -> dict[str, Any]:
    """Plain data: two sweeps of one space have the same."""
    return {key: json.loads(distribution_to_json(space[key])) for key in sorted(space)}


def as_assignment(key: str, value: Any) -> str:
    """A setting as a word of a command line.

    Example:
        >>> as_assignment("training.learning_rate", 0.003), as_assignment("arms", ["kd"])
        ('training.learning_rate=0.003', 'arms=["kd"]')
    """
    if isinstance(value, float):
        text = f"{value:.6g}"
        return f"{key}={text if float(text) == value else repr(value)}"
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def _is_list(entry: Any) -> bool:
    return isinstance(entry, CategoricalDistribution)


def _choices(where: str, values: Any) -> CategoricalDistribution:
    if not isinstance(values, list) or not values:
        raise ConfigError(
            f"{where}: expected a list of values to try, got {'an empty one' if values == [] else values}"
        )
    if any(values.index(value) < place for place, value in enumerate(values)):
        raise ConfigError(f"{where}: expected different values, got {', '.join(map(str, values))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lists are no numbers or words: as JSON they come back equal
        return CategoricalDistribution(values)


def _range(where: str, entry: Mapping[str, Any]) -> BaseDistribution:
    """Any number from low to high, both included; whole numbers where both are, and the step."""
    numbers = {name: _number(entry[name]) if name in entry else None for name in ("low", "high", "step")}
    for name, number in numbers.items():
        if number is None and (name != "step" or name in entry):
            raise ConfigError(f"{where}.{name}: expected a number, got {entry.get(name)!r}")
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}.log: expected true or false, got {log!r}")
    given = {name: number for name, number in numbers.items() if number is not None}
    kind = IntDistribution if all(isinstance(number, int) for number in given.values()) else FloatDistribution
    try:
        return kind(**given, log=log)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _number(value: Any) -> Any:
    """A finite number; YAML 1.1 reads 1e-3 as a word."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _values(key: str, text: str) -> list[Any]:
    """Values between commas, as YAML has them between brackets.

    Example:
        >>> _values("a", "[a, b], 'x,y', {c: 1, d: 2}, 1e-3, timm:resnet18")
        [['a', 'b'], 'x,y', {'c': 1, 'd': 2}, 0.001, 'timm:resnet18']
    """
    try:
        found = [] if text.strip().endswith(",") else read_yaml(f"[{text}]")
    except yaml.YAMLError:
        found = []
    if not found:
        raise ConfigError(
            f"--set {key}: expected values between commas, got {text!r}: an empty list or entry, or an open bracket"
        )
    return [value if (number := _number(value)) is None else number for value in found]
