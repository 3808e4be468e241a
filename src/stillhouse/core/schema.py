"""What is known of a configuration class (fields, members of a union), and faults in one in words. No torch."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from stillhouse.core.checks import nearest

PLAIN_TYPES = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_attributes_type": "a mapping (key: value)",
}
UNKNOWN = {"unexpected_keyword_argument", "extra_forbidden"}
MANY = 3  # unknown keys of one part are those of another kind; fewer are misspelt


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


def _members_at(kind: Any, place: Sequence[str | int]) -> list[Any]:
    """The classes that the schema takes at a place of a pydantic error (union tags are part of such places)."""
    here = members(kind)
    for step in place:
        found: list[Any] = []
        for one in here:
            if step in settings(one):
                found.append(settings(one)[str(step)].annotation)
            elif isinstance(step, int) and typing.get_args(one):
                found.append(typing.get_args(one)[0])
            elif is_dataclass(one) and step == tag_of(one):
                found.append(one)
        here = [m for annotation in found for m in members(annotation)]
    return here


def _keys_at(kind: Any, place: Sequence[str | int]) -> list[str]:
    found = _members_at(kind, place)
    return [name for one in found for name in settings(one)]


def explained(kind: type, errors: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each fault; keys of another kind, which come in dozens, share one."""
    strangers: dict[tuple[Any, ...], list[str]] = {}
    for error in errors:
        if error["type"] in UNKNOWN and len(error["loc"]) > 1:
            strangers.setdefault(tuple(error["loc"][:-1]), []).append(str(error["loc"][-1]))
    many = {place: keys for place, keys in strangers.items() if len(keys) >= MANY}
    faulty = {tuple(error["loc"][:-1]) for error in errors}
    lines = []
    for error in errors:
        place = tuple(error["loc"][:-1])
        if error["type"] == "too_short" and tuple(error["loc"]) in faulty:
            continue  # its entries were refused one by one
        if place not in many or error["type"] not in UNKNOWN:
            lines.append(_explain(kind, error))
        elif str(error["loc"][-1]) == many[place][0]:
            lines.append(_of_another_kind(kind, place, many[place]))
    return lines


def _of_another_kind(kind: type, place: Sequence[Any], keys: Sequence[str]) -> str:
    """Keys that a part does not have, mostly those of the kind that it had before."""
    tags = [tag_of(member) for member in _members_at(kind, place[:-1])]
    known = [key for key in dict.fromkeys(_keys_at(kind, place)) if key != "kind"]
    if place[-1] not in tags:
        return f"{_dotted(place)}: unknown keys {', '.join(keys)}; {nearest('', known)}"
    where = _dotted(place[:-1])
    return f"{where}: kind {place[-1]!r} does not have {', '.join(keys)}; it has {', '.join(known)}"


def _dotted(place: Sequence[Any]) -> str:
    return ".".join(map(str, place))


def _explain(kind: type, error: dict[str, Any]) -> str:
    loc = list(error["loc"])
    shown = _dotted(loc) or kind.__name__
    if error["type"] in UNKNOWN:
        return f"{shown}: unknown key; {nearest(str(loc[-1]), _keys_at(kind, loc[:-1]))}"
    if error["type"] == "missing":
        return f"{shown}: missing"
    if error["type"] in PLAIN_TYPES:
        return f"{shown}: expected {PLAIN_TYPES[error['type']]}, got {_short(error.get('input'))}"
    if error["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        if not isinstance(error.get("input"), Mapping):
            return f"{shown}: expected a mapping with a kind, as {{kind: ...}}, got {_short(error.get('input'))}"
        given = error.get("ctx", {}).get("tag")
        known = error.get("ctx", {}).get("expected_tags") or ", ".join(repr(tag_of(m)) for m in _members_at(kind, loc))
        hint = "" if given is None else f"; {nearest(str(given), [word.strip(chr(39)) for word in known.split(', ')])}"
        return f"{shown}.kind: expected one of {known}, got {'nothing' if given is None else repr(given)}{hint}"
    got = error.get("input")
    if isinstance(got, bool) and error["type"] in {
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
    }:
        return f"{shown}: expected a number, got {_short(got)}"
    if error["type"] in {"too_short", "too_long"}:
        least = error["type"] == "too_short"
        count = error["ctx"]["min_length" if least else "max_length"]
        entries = "entry" if count == 1 else "entries"
        return f"{shown}: expected at {'least' if least else 'most'} {count} {entries}, got {_short(got)}"
    text = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if error["type"] in {"value_error", "assertion_error"}:
        return f"{shown}: {text}" if loc else text
    hint = ""
    if error["type"] == "literal_error" and isinstance(got, str):
        allowed = error.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(", ")
        hint = f"; {nearest(got, [word.strip(chr(39)) for word in allowed])}"
    return f"{shown}: expected {text}, got {_short(got)}{hint}"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as YAML writes it
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= 200 else f"{text[:197]}..."
