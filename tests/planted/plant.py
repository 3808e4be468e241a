"""Break one thing on purpose: replace a function or method everywhere it is known, so that a test can be seen to fail.

A fault is data: where it is, what it makes of the original, and the test that must catch it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

Broken = Callable[[Any], Any]  # original -> broken
PARTS = {staticmethod: "__func__", classmethod: "__func__", property: "fget"}


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


def find(fault: Fault) -> tuple[Any, str, Any]:
    """Where the original is: its module or class, its name there, and itself (a method may be wrapped, as a property)."""
    module, _, path = fault.target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, last, owner.__dict__[last]


def broken(fault: Fault) -> tuple[Any, Any]:
    """The original function and the broken one; nothing is replaced yet."""
    given = find(fault)[2]
    original = getattr(given, PARTS[type(given)]) if type(given) in PARTS else given
    return original, fault.breaks(original)


def plant(fault: Fault) -> None:
    """Carry out the replacement in this process, in every module that imported the original by name."""
    owner, last, given = find(fault)
    original, instead = broken(fault)
    setattr(owner, last, type(given)(instead) if type(given) in PARTS else instead)
    if not inspect.isclass(owner):
        for known in list(sys.modules.values()):
            names = vars(known) if known is not None and hasattr(known, "__dict__") else {}
            for name, value in list(names.items()):
                if value is original:
                    setattr(known, name, instead)


def edited(old: str, new: str) -> Broken:
    """A function with other words in its source. Fails where the source has moved on, so that the list keeps up with it."""

    def breaks(original: Any) -> Any:
        plain = inspect.unwrap(original)
        source = textwrap.dedent(inspect.getsource(plain))
        if old not in source:
            raise LookupError(f"{plain.__module__}.{plain.__qualname__}: expected {old!r} in its source, got none")
        # inside another function, for the names that the original has from around it: `super()` reads `__class__` there
        around = dict(zip(plain.__code__.co_freevars, (cell.cell_contents for cell in plain.__closure__ or ())))
        tree = ast.parse(f"from __future__ import annotations\ndef made({', '.join(around)}): return {plain.__name__}")
        cast(ast.FunctionDef, tree.body[1]).body[:0] = ast.parse(source.replace(old, new)).body
        names: dict[str, Any] = {}
        exec(compile(tree, f"<{plain.__name__}>", "exec"), plain.__globals__, names)
        found = names["made"](**around)
        return getattr(found, PARTS[type(found)]) if type(found) in PARTS else found

    return breaks
