"""One schema for Python, YAML and `key=value`: frozen pydantic dataclasses in, the same dataclasses out. No torch.

A configuration class is written once, with types, ranges and help:

    @configclass
    class TrainingConfig:
        epochs: int = Field(default=20, gt=0, description="passes over the training split")

Everything else (parsing, dumping, suggestions for misspelt keys) is derived from it here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stillhouse.core.checks import ConfigError as ConfigError
from stillhouse.core.checks import nearest as nearest
from stillhouse.core.schema import explained
from stillhouse.core.schema import kinds as kinds
from stillhouse.core.schema import members as members
from stillhouse.core.schema import settings as settings
from stillhouse.core.yaml_text import read_yaml, yaml_fault

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def configclass(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass whose fields pydantic validates, also when it is made in Python."""
    return dataclass(frozen=True, kw_only=True, config=STRICT)(cls)  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------- mapping <-> config


def parse(kind: type[T], mapping: Mapping[str, Any]) -> T:
    """Build a configuration from plain data; every fault is listed, misspelt keys with a suggestion.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, missing key.
    """
    try:
        parsed = TypeAdapter(kind).validate_python(dict(mapping))
    except ValidationError as error:
        raise ConfigError("\n".join(explained(kind, [dict(e) for e in error.errors()]))) from None
    long = list(_long_numbers(mapping))
    if long:
        raise ConfigError(
            "\n".join(f"{path}: expected a number below 2**53, got {number:.3g}" for path, number in long)
        )
    switches = list(_switches_as_numbers(mapping, to_mapping(parsed)))
    if switches:
        raise ConfigError("\n".join(f"{path}: expected a number, got {str(given).lower()}" for path, given in switches))
    return parsed


def to_mapping(config: Any) -> Any:
    """Plain JSON- and YAML-ready data (dicts, lists, numbers, strings) of a configuration."""
    if is_dataclass(config) and not isinstance(config, type):
        kind_first = sorted(fields(config), key=lambda f: f.name != "kind")
        return {f.name: to_mapping(getattr(config, f.name)) for f in kind_first}
    if isinstance(config, Mapping):
        return {key: to_mapping(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_mapping(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def dump_yaml(config: Any) -> str:
    """The configuration as YAML text that `load_yaml` and `parse` read back to an equal value."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True, width=110)


TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping.

    Raises:
        ConfigError: missing file, broken YAML, or something else than a mapping on top.
    """
    if Path(path).suffix.lower() in TABLES:
        raise ConfigError(
            f"{path}: expected a recipe (YAML), got a table; for its rows name it in one: banking data.root={path}"
        )
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the recipe file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    except ValueError as error:
        raise ConfigError(f"cannot read the recipe file {str(path)!a}: {error}") from None
    try:
        loaded = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {yaml_fault(error)}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping (key: value) on top, got {type(loaded).__name__}")
    return loaded


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `change` over it, mapping by mapping; lists and numbers are replaced whole.

    A mapping whose `kind` differs replaces the old one, since its keys belong to another class.

    Example:
        >>> merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
        {'a': {'x': 1, 'y': 5}, 'b': 3}
    """
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        if both and value.get("kind", old.get("kind")) == old.get("kind"):  # type: ignore[union-attr]
            merged[key] = merge(old, value)  # type: ignore[arg-type]
        else:
            merged[key] = value
    return merged


def override(mapping: dict[str, Any], assignments: Sequence[str], values: Mapping[str, Any] | None = None) -> None:
    """Carry out `a.b=c` in place: values are read as YAML, a number in a path is a place in a list.

    Whole parts come first and a part of another `kind` starts from the defaults of that kind, whatever the order.

    Args:
        mapping: a run as plain data.
        assignments: `a.b=c`.
        values: after them, dotted keys with ready values.

    Example:
        >>> run = {"student": {"kind": "mlp", "width": 3}, "signals": [{"weight": 1.0}]}
        >>> override(run, ["student.clauses=5", "signals.0.weight=0.5", "student.kind=flat-tm"]); run
        {'student': {'kind': 'flat-tm', 'clauses': 5}, 'signals': [{'weight': 0.5}]}

    Raises:
        ConfigError: no `=`, a key of a plain value, or an index outside a list.
    """
    pairs = [*map(assigned, assignments), *((key.split("."), value) for key, value in (values or {}).items())]
    for path, value in sorted(pairs, key=lambda pair: len(pair[0]) - 0.5 * (pair[0][-1] == "kind")):
        if path[-1] == "kind" and len(path) > 1:
            old = _at(mapping, path[:-1])
            if isinstance(old, Mapping) and old.get("kind") != value:
                place(mapping, path[:-1], {"kind": value})
                continue
        place(mapping, path, value)


def assigned(assignment: str) -> tuple[list[str], Any]:
    """(path, value) of `a.b=c`, the value read as YAML.

    Raises:
        ConfigError: no `=`.
    """
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set takes key=value, got {assignment!r}")
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, dict) and not text.lstrip().startswith("{"):  # `timm:` is a word
        value = text.strip()
    return path.strip().split("."), value


def set_path(mapping: dict[str, Any], assignment: str) -> None:
    """Carry out one `a.b=c` in place, as it stands.

    Example:
        >>> config = {"training": {"epochs": 3}}
        >>> set_path(config, "training.epochs=5"); config
        {'training': {'epochs': 5}}
    """
    place(mapping, *assigned(assignment))


def _at(mapping: Any, path: Sequence[str]) -> Any:
    """What stands at a path; None where nothing does."""
    for key in path:
        if isinstance(mapping, list) and key.isdigit() and int(key) < len(mapping):
            mapping = mapping[int(key)]
        else:
            mapping = mapping.get(key) if isinstance(mapping, Mapping) else None
    return mapping


def place(mapping: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put `value` at a path of keys and list indices, making mappings on the way; `parse` judges the keys."""
    here: Any = mapping
    for depth, key in enumerate(path):
        where = ".".join(path[: depth + 1])
        last = depth == len(path) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise ConfigError(f"{where}: expected an index below {len(here)}, got {key!r}")
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                if here.get(key) is None:
                    here[key] = {}
                here = here[key]
        else:
            raise ConfigError(f"{where}: {'.'.join(path[:depth])} is a plain value and has no keys")


# ---------------------------------------------------------------------------------------------- inside


def _switches_as_numbers(given: Any, parsed: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """(path, value) of each true or false that pydantic took for 1 or 0."""
    if isinstance(given, bool) and type(parsed) in (int, float):
        yield path, given
    if isinstance(given, Mapping) and isinstance(parsed, dict):
        inner = {key: x for part in parsed.values() if isinstance(part, dict) for key, x in part.items()}
        pairs = [(str(key), value, parsed.get(key, inner.get(key))) for key, value in given.items()]  # written beside
    elif isinstance(given, (list, tuple)) and isinstance(parsed, list):
        pairs = [(str(number), *both) for number, both in enumerate(zip(given, parsed, strict=False))]
    else:
        return
    for key, value, came in pairs:
        yield from _switches_as_numbers(value, came, f"{path}.{key}" if path else key)


def _long_numbers(given: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """(path, value) of each whole number that others (torch, JSON readers) do not hold exactly, or not at all."""
    if isinstance(given, int) and abs(given) >= 2**53:
        yield path, float(given) if abs(given) < 10**300 else math.inf
    pairs = (
        given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, (list, tuple)) else ()
    )
    for key, value in pairs:
        yield from _long_numbers(value, f"{path}.{key}" if path else str(key))
