"""Break one thing on purpose: replace a function or method everywhere it is known, so that a test can be seen to fail.

A fault is data: where it is, what it makes of the original, and the test that must catch it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Broken = Callable[[Any], Any]  # original -> broken


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
        name: short, unique.
        target: `package.module:function` or `package.module:Class.method`.
        breaks: gets the original, gives the broken one.
        caught_by: node id of the test that must fail.
    """

    name: str
    target: str
    breaks: Broken
    caught_by: str


def plant(fault: Fault) -> None:
    """Carry out the replacement in this process, in every module that imported the original by name."""
    module, _, path = fault.target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    given = owner.__dict__[last]
    original = given.__func__ if isinstance(given, (classmethod, staticmethod)) else given
    broken = fault.breaks(original)
    kept = type(given)(broken) if isinstance(given, (classmethod, staticmethod)) else broken
    setattr(owner, last, kept)
    if not outer:
        for known in list(sys.modules.values()):
            names = vars(known) if known is not None and hasattr(known, "__dict__") else {}
            for name, value in list(names.items()):
                if value is original:
                    setattr(known, name, broken)


def times(factor: float) -> Broken:
    """A function whose result is multiplied."""
    return lambda original: lambda *a, **k: original(*a, **k) * factor


def constant(value: Any) -> Broken:
    """A function that always gives the same."""
    return lambda original: lambda *a, **k: value


def nothing(original: Any) -> Any:
    """A function that does nothing."""
    return lambda *a, **k: None
