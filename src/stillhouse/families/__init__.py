"""The families of students; each is one package, and none imports another. `FAMILIES` is the only list."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stillhouse.core.checks import InputError, nearest

if TYPE_CHECKING:
    from stillhouse.core.family import Family

FAMILIES = ("images", "clauses", "sar", "lm", "embed")


def family(kind: str) -> Family[Any, Any]:
    """The family of a name, imported now.

    Raises:
        InputError: there is none of that name.
    """
    if kind not in FAMILIES:
        raise InputError(f"family {kind!r} is not known; {nearest(kind, FAMILIES)}")
    found: Family[Any, Any] = import_module(f"stillhouse.families.{kind}.family").FAMILY
    return found


def family_of(config: Any) -> Family[Any, Any]:
    """The family whose run a configuration is.

    Raises:
        InputError: no family has such a configuration.
    """
    for kind in FAMILIES:
        found = family(kind)
        if type(config) is found.Config:
            return found
    raise InputError(f"expected the configuration of a run, got {type(config).__name__}")
