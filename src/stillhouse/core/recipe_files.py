"""Recipes that ship as YAML files: one file a recipe, named as it is; its first line, a comment, says what it is. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.core.config import load_yaml, merge, parse, to_mapping

T = TypeVar("T")


def shipped_recipes(folder: Path, kind: type[T], names: tuple[str, ...]) -> Mapping[str, Callable[[], T]]:
    """For each name a function that reads its file; its docstring is the comment on the file's first line.

    Args:
        folder: of the files, `NAME.yaml`; one may start from another (`recipe: NAME`) and change what it names.
        kind: of the configuration.
        names: in the order in which they are listed.
    """
    return {name: _reader(folder / f"{name}.yaml", kind) for name in names}


def _reader(path: Path, kind: type[T]) -> Callable[[], T]:
    def read() -> T:
        return parse(kind, _settings(path, kind))

    read.__doc__ = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return read


def _settings(path: Path, kind: type[Any]) -> dict[str, Any]:
    own = {"name": path.stem, **load_yaml(path)}
    base = own.pop("recipe", None)
    return own if base is None else merge(to_mapping(parse(kind, _settings(path.parent / f"{base}.yaml", kind))), own)
