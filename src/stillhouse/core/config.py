"""One schema for Python, YAML and `key=value`: frozen pydantic dataclasses in, the same dataclasses out. No torch.

A configuration class is written once, with types, ranges and help:

    @configclass
    class TrainingConfig:
        epochs: int = Field(default=20, gt=0, description="passes over the training split")

Everything else (parsing, dumping, suggestions for misspelt keys) is derived from it here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stillhouse.core.checks import ConfigError as ConfigError
from stillhouse.core.checks import nearest

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)
UNKNOWN = {"unexpected_keyword_argument", "extra_forbidden"}
TAGS = {"union_tag_not_found", "union_tag_invalid"}
MOST_FAULTS = 4
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def configclass(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass whose fields pydantic validates, also when it is made in Python."""
    return dataclass(frozen=True, kw_only=True, config=STRICT)(cls)  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------- mapping <-> config


def parse(kind: type[T], mapping: Mapping[str, Any]) -> T:
    """Build a configuration from plain data; faults are listed, misspelt keys with a suggestion.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, missing key.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(mapping))
    except ValidationError as error:
        faults = [one for one in error.errors() if one["type"] != "default_factory_not_called"]  # follows from another
        # a list whose entries were refused is too short besides
        lines = [_explain(kind, dict(one)) for one in faults if one["type"] != "too_short" or len(faults) == 1]
        more = [f"... and {len(lines) - MOST_FAULTS} more"] if len(lines) > MOST_FAULTS else []
        raise ConfigError("\n".join([*lines[:MOST_FAULTS], *more])) from None


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


# ---------------------------------------------------------------------------------------------- YAML


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key stands once in a mapping: PyYAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
            yaml.YAMLError: a key stands twice.
        """
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise yaml.YAMLError(f"key {twice!r} stands twice in the mapping of line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The value that a YAML text stands for; a key stands once in a mapping.

    Example:
        >>> read_yaml("{epochs: 3, arms: [kd]}")
        {'epochs': 3, 'arms': ['kd']}

    Raises:
        yaml.YAMLError: broken YAML, a key that stands twice, a value that is not one (30 February), too many levels.
    """
    try:
        return yaml.load(text, Loader=_OnceLoader)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:  # of PyYAML's constructors
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from None


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
        loaded = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the recipe file {str(path)!a}: {error}") from None
    except yaml.YAMLError as error:
        text = str(error).replace('in "<unicode string>", ', "")
        raise ConfigError(f"{path} is not YAML: {' '.join(text.split())}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping (key: value) on top, got {type(loaded).__name__}")
    return loaded


def shipped_recipes(folder: Path, kind: type[T], names: tuple[str, ...]) -> Mapping[str, Callable[[], T]]:
    """For each name a function that reads its file; its docstring is the comment on the file's first line.

    Args:
        folder: of the files, `NAME.yaml`; one may start from another (`recipe: NAME`) and change what it names.
        kind: of the configuration.
        names: in the order in which they are listed.
    """

    def settings_in(path: Path) -> dict[str, Any]:
        own = {"name": path.stem, **load_yaml(path)}
        base = own.pop("recipe", None)
        return own if base is None else merge(to_mapping(parse(kind, settings_in(folder / f"{base}.yaml"))), own)

    def reader(path: Path) -> Callable[[], T]:
        def read() -> T:
            return parse(kind, settings_in(path))

        read.__doc__ = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        return read

    return {name: reader(folder / f"{name}.yaml") for name in names}


# ---------------------------------------------------------------------------------------------- changes


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


def apply_override(
    mapping: dict[str, Any], assignments: Sequence[str], values: Mapping[str, Any] | None = None
) -> None:
    """Carry out `a.b=c` in place: values are read as YAML, a number in a path is a place in a list.

    Whole parts come first and a part of another `kind` starts from the defaults of that kind, whatever the order.

    Args:
        mapping: a run as plain data.
        assignments: `a.b=c`.
        values: after them, dotted keys with ready values.

    Example:
        >>> run = {"student": {"kind": "mlp", "width": 3}, "signals": [{"weight": 1.0}]}
        >>> apply_override(run, ["student.clauses=5", "signals.0.weight=0.5", "student.kind=flat-tm"]); run
        {'student': {'kind': 'flat-tm', 'clauses': 5}, 'signals': [{'weight': 0.5}]}

    Raises:
        ConfigError: no `=`, a key of a plain value, or an index outside a list.
    """
    pairs = [*map(parse_assignment, assignments), *((key.split("."), value) for key, value in (values or {}).items())]
    for path, value in sorted(pairs, key=lambda pair: len(pair[0]) - 0.5 * (pair[0][-1] == "kind")):
        if path[-1] == "kind" and len(path) > 1:
            set_path(mapping, path[:-1], {"kind": value}, unless=value)
        set_path(mapping, path, value)


def parse_assignment(assignment: str) -> tuple[list[str], Any]:
    """(path, value) of `a.b=c`, the value read as YAML.

    Raises:
        ConfigError: no `=`.
    """
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"expected key=value, got {assignment!r}")
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, dict) and not text.lstrip().startswith("{"):  # `timm:` is a word
        value = text.strip()
    return path.strip().split("."), value


def set_path(mapping: dict[str, Any], path: Sequence[str], value: Any, *, unless: Any = None) -> None:
    """Put `value` at a path of keys and list indices, making mappings on the way; `parse` judges the keys.

    Args:
        mapping: changed in place.
        path: keys and indices.
        value: what is put there.
        unless: the kind of a mapping that stays as it is.
    """
    here: Any = mapping
    for depth, name in enumerate(path):
        where = ".".join(path[: depth + 1])
        key: Any = int(name) if isinstance(here, list) and name.isdigit() else name
        if isinstance(here, list) and not (isinstance(key, int) and key < len(here)):
            raise ConfigError(f"{where}: expected an index below {len(here)}, got {name!r}")
        if not isinstance(here, (list, dict)):
            raise ConfigError(f"{where}: {'.'.join(path[:depth])} is a plain value and has no keys")
        old = here[key] if isinstance(here, list) else here.get(key)
        if depth == len(path) - 1:
            if unless is None or not isinstance(old, Mapping) or old.get("kind") != unless:
                here[key] = value
        elif old is None:
            here[key] = {}
        here = here[key]


# ---------------------------------------------------------------------------------------------- the schema


def kinds(union: Any) -> dict[str, type]:
    """The members of a union of configurations by their `kind`.

    Example:
        >>> from stillhouse.signals import SignalConfig
        >>> "logits" in kinds(SignalConfig)
        True
    """
    return {str(tag_of(member)): member for member in members(union)}


def settings(kind: Any) -> dict[str, Any]:
    """The fields of a configuration class as pydantic knows them (annotation, default, description); {} for others."""
    return dict(getattr(kind, "__pydantic_fields__", {}))


def members(annotation: Any) -> list[Any]:
    """The members of a union without None, Annotated peeled off; [annotation] for anything else.

    A field's annotation comes from pydantic with its discriminator already taken off; a nested one does not.
    """
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [m for part in typing.get_args(annotation) for m in members(part)]
        return [m for m in found if m is not type(None)]
    return [annotation]


def tag_of(kind: Any) -> Any:
    """The `kind` of a configuration class; None where it has none."""
    info = settings(kind).get("kind")
    return None if info is None else info.default


# ---------------------------------------------------------------------------------------------- faults in words


def _explain(kind: type, error: dict[str, Any]) -> str:
    """A fault in one line: where, what was expected, what came, and the near word."""
    loc, got = list(error["loc"]), _short(error.get("input"))
    shown = ".".join(map(str, loc)) or kind.__name__
    if error["type"] in UNKNOWN:
        return f"{shown}: unknown key; {nearest(str(loc[-1]), _keys_at(kind, loc[:-1]))}"
    if error["type"] == "missing":
        return f"{shown}: missing"
    text = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if error["type"] in {"value_error", "assertion_error"}:
        return f"{shown}: {text}" if loc else text
    context = error.get("ctx", {})
    if error["type"] in TAGS:
        given, tags = context.get("tag"), [str(tag_of(member)) for member in _members_at(kind, loc)]
        hint = "" if given is None else f"; {nearest(str(given), tags)}"
        return f"{shown}.kind: expected one of {', '.join(map(repr, tags))}, got {given!r}{hint}"
    hint = ""
    if error["type"] == "literal_error":
        allowed = context.get("expected", "").replace(" or ", ", ").split(", ")
        hint = f"; {nearest(str(error['input']), [word.strip(chr(39)) for word in allowed])}"
    return f"{shown}: expected {text}, got {got}{hint}"


def _members_at(kind: Any, loc: Sequence[str | int]) -> list[Any]:
    """The classes that the schema takes at a place of a pydantic error (union tags are part of such places)."""
    here = members(kind)
    for step in loc:
        found: list[Any] = []
        for one in here:
            if is_dataclass(one) and step == tag_of(one) and len(here) > 1:  # `rules` is a field of rules, too
                found = [one]
                break
            if step in settings(one):
                found.append(settings(one)[str(step)].annotation)
            elif isinstance(step, int) and typing.get_args(one):
                found.append(typing.get_args(one)[0])
        here = [m for annotation in found for m in members(annotation)]
    return here


def _keys_at(kind: Any, loc: Sequence[str | int]) -> list[str]:
    return [name for one in _members_at(kind, loc) for name in settings(one)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
