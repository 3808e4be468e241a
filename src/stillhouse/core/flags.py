"""Every leaf of a configuration as a command-line flag. No torch."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from stillhouse.core.config import members, parts_beside, settings


@dataclass(frozen=True)
class Flag:
    """One leaf of a configuration as a command-line flag."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    help: str

    @property
    def name(self) -> str:
        """The long flag: `--training-batch-size` for training.batch_size."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed words where the field is a Literal, else ()."""
        return tuple(v for kind in members(self.annotation) for v in typing.get_args(kind) if _is_literal(kind))

    @property
    def is_bool(self) -> bool:
        """True for a switch (`--x/--no-x`)."""
        return bool in members(self.annotation)

    @property
    def is_list(self) -> bool:
        """True where several values are taken (`2,2,6,2` or `64 64`)."""
        return any(typing.get_origin(kind) is tuple for kind in members(self.annotation))


def flags(config: Any, prefix: tuple[str, ...] = ()) -> Iterator[Flag]:
    """Every leaf of a configuration value, depth first; the shape (which union member, how many signals) is the value's."""
    parts = {name: members for name, _, members in parts_beside(type(config))}
    for name, info in settings(type(config)).items():
        value = getattr(config, name)
        if name not in parts:
            yield from _flags_of(name, info, value, prefix)
            continue
        yield Flag((*prefix, name), typing.Literal[tuple(parts[name])], value.kind, info.description or "")
        offered = dict.fromkeys(key for member in parts[name].values() for key in settings(member) if key != "kind")
        for key in offered:  # of every member: the same command may choose another one
            able = [word for word, member in parts[name].items() if key in settings(member)]
            setting = settings(type(value)).get(key, settings(parts[name][able[0]])[key])
            owners = f"{', '.join(able)}: " if len(able) <= 3 else ""
            for flag in _flags_of(key, setting, getattr(value, key, setting.default), prefix):
                yield replace(flag, help=owners + flag.help)


def _flags_of(name: str, info: Any, value: Any, prefix: tuple[str, ...]) -> Iterator[Flag]:
    path = (*prefix, name)
    if is_dataclass(value):
        yield from flags(value, path)
    elif isinstance(value, tuple) and value and all(is_dataclass(v) for v in value):
        for number, entry in enumerate(value):
            yield from flags(entry, (*path, str(number)))
    elif name != "kind" and (takes_plain(info.annotation) or not holds_configs(info.annotation)):
        yield Flag(path, info.annotation, value, info.description or "")
    elif value is None and holds_configs(info.annotation):
        yield from flags(members(info.annotation)[0](), path)  # an optional part, with its own defaults


def _is_literal(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Literal


def takes_plain(annotation: Any) -> bool:
    """A field that takes a number or a word beside configurations: a flag gives the plain one."""
    return any(kind in (int, float, str) for kind in members(annotation))


def holds_configs(annotation: Any) -> bool:
    """A field of parts that have settings of their own: those are its flags."""
    return any(
        is_dataclass(kind) or any(is_dataclass(m) for arg in typing.get_args(kind) for m in members(arg))
        for kind in members(annotation)
    )
