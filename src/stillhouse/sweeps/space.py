"""Which settings a sweep tries: lists from `--set`, lists and ranges from a YAML file. No torch.

training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
training.epochs: {low: 5, high: 20, step: 5}
student.depth: {choices: [1, 2, 4]}
"""

from __future__ import annotations

import itertools
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import ConfigError, load_yaml
from stillhouse.core.yaml_text import read_yaml

FIXED = {
    "seeds": "a sweep trains as many as --seeds says",
    "arms": "a sweep trains the arm that ships",
    "name": "it names the run, and changes nothing",
}
MOST_CHECKED = 200  # points of a grid that are all built before the first is trained
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Choices:
    """One of several values.

    Example:
        >>> Choices((1e-3, 3e-3)).suggest(lambda name, kinds: kinds[-1], "rate")
        0.003
    """

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for all to be."""
        return self.values

    @property
    def labels(self) -> tuple[Any, ...]:
        """As a study keeps them: numbers and words as they are, lists and mappings as JSON."""
        plain = (bool, int, float, str, type(None))
        return tuple(value if isinstance(value, plain) else json.dumps(value) for value in self.values)

    def suggest(self, pick: Callable[[str, Sequence[Any]], Any], name: str) -> Any:
        """The value whose label `pick` takes."""
        return self.values[self.labels.index(pick(name, self.labels))]

    def to_mapping(self) -> dict[str, Any]:
        """As in a YAML file."""
        return {"choices": list(self.values)}


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included; whole numbers where both are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(x, int) for x in (self.low, self.high)) and isinstance(self.step or 1, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for all to be."""
        return self.low, self.high

    def to_mapping(self) -> dict[str, Any]:
        """As in a YAML file."""
        more = {"log": True} if self.log else {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **more}


Space = Mapping[str, Choices | Range]


def read_assignments(words: Sequence[str]) -> tuple[list[str], dict[str, Choices]]:
    """`key=value` as settings of every trial, and `key=a,b,c` as lists to try.

    Example:
        >>> fixed, lists = read_assignments(["training.epochs=5", "training.learning_rate=1e-3,3e-3", "lesson.tau=[[1, 2]]"])
        >>> fixed, lists["training.learning_rate"].values
        (['training.epochs=5', 'lesson.tau=[[1, 2]]'], (0.001, 0.003))

    Raises:
        ConfigError: no `=`, an empty list or entry, a value twice, a key twice.
    """
    fixed: list[str] = []
    lists: dict[str, Choices] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set takes key=value or key=a,b,c, got {word!r}")
        parts = _split(text)
        if not text.strip() or not all(parts):
            raise ConfigError(f"--set {key}: expected values between commas, got {text!r}: an empty list or entry")
        if len(parts) == 1:
            fixed.append(word)
            continue
        if key in lists:
            raise ConfigError(f"--set {key}: expected one list, got two")
        lists[key] = _choices(key, [_value(part) for part in parts])
    return fixed, lists


def read_space(path: Path) -> dict[str, Choices | Range]:
    """The settings of a YAML file.

    Raises:
        ConfigError: no such file, an empty one, or an entry that is neither a list nor a range.
    """
    found: dict[str, Choices | Range] = {}
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
    first = {key: entry.ends[0] for key, entry in space.items()}
    if size is not None and size <= MOST_CHECKED:
        points: Iterator[Mapping[str, Any]] = grid(space)
    else:
        points = ({**first, key: value} for key, entry in space.items() for value in entry.ends)
    for point in points:
        try:
            build(point)
        except ConfigError as error:
            shown = ", ".join(f"{key}={value}" for key, value in point.items())
            raise ConfigError(f"{error}\n(with {shown})") from None


def grid_size(space: Space) -> int | None:
    """Points of a space of lists; None where a range is among them."""
    if not all(isinstance(entry, Choices) for entry in space.values()):
        return None
    return math.prod(len(entry.ends) for entry in space.values())


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of a space of lists, the last setting fastest.

    Example:
        >>> [list(point.values()) for point in grid({"a": Choices((1, 2)), "b": Choices(("x", "y"))})]
        [[1, 'x'], [1, 'y'], [2, 'x'], [2, 'y']]
    """
    for values in itertools.product(*(entry.ends for entry in space.values())):
        yield dict(zip(space, values, strict=True))


def to_mapping(space: Space) -> dict[str, Any]:
    """Plain data: two sweeps of one space have the same."""
    return {key: space[key].to_mapping() for key in sorted(space)}


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


def _choices(where: str, values: Any) -> Choices:
    if not isinstance(values, list) or not values:
        raise ConfigError(
            f"{where}: expected a list of values to try, got {'an empty one' if values == [] else values}"
        )
    labels = Choices(tuple(values)).labels
    if any(labels.index(label) < place for place, label in enumerate(labels)):
        raise ConfigError(f"{where}: expected different values, got {', '.join(map(str, labels))}")
    return Choices(tuple(values))


def _range(where: str, entry: Mapping[str, Any]) -> Range:
    numbers = {name: _number(entry.get(name)) for name in ("low", "high", "step")}
    for name in ("low", "high"):
        if numbers[name] is None:
            raise ConfigError(f"{where}.{name}: expected a number, got {entry.get(name)!r}")
    low, high, step = typing.cast(float, numbers["low"]), typing.cast(float, numbers["high"]), numbers["step"]
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}.log: expected true or false, got {log!r}")
    if not low < high:
        raise ConfigError(f"{where}: expected low below high, got {low} and {high}")
    if log and low <= 0:
        raise ConfigError(f"{where}: expected low above 0 on a logarithmic scale, got {low}")
    if "step" in entry and (step is None or not step > 0):
        raise ConfigError(f"{where}.step: expected a number above 0, got {entry['step']!r}")
    if log and step is not None:
        raise ConfigError(f"{where}: expected log or step, got both")
    return Range(low, high, log, step)


def _number(value: Any) -> Any:
    """A finite number; YAML 1.1 reads 1e-3 as a word."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _value(text: str) -> Any:
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        return text
    number = _number(value)
    return value if number is None else number


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no bracket or quotation mark.

    Example:
        >>> _split("[a, b], 'x,y', {c: 1, d: 2}")
        ['[a, b]', "'x,y'", '{c: 1, d: 2}']
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise InputError(f"expected closed brackets and quotation marks, got {text!r}")
    return [part.strip() for part in parts]
