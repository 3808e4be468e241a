"""A recipe by name or from a YAML file, with changes on top: the one way in for every command. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.classification.plan import RunConfig, TeacherRunConfig
from stillhouse.core.config import ConfigError, load_yaml, merge, nearest, parse, set_path, to_mapping
from stillhouse.families.clauses import recipes as tsetlin

T = TypeVar("T")

RECIPES: Mapping[str, Callable[[], RunConfig]] = {
    "digits": tsetlin.digits,
    "mnist": tsetlin.mnist,
    "mnist-documented": tsetlin.mnist_documented,
    "fashion-mnist": tsetlin.fashion_mnist,
    "cifar10": tsetlin.cifar10,
}
TEACHER_RECIPES: Mapping[str, Callable[[], TeacherRunConfig]] = {
    "digits-teacher": tsetlin.digits_teacher,
    "mnist-teacher": tsetlin.mnist_teacher,
    "fashion-mnist-teacher": tsetlin.fashion_mnist_teacher,
}


def load_run(recipe: str, assignments: Sequence[str] = ()) -> RunConfig:
    """The `RunConfig` of a recipe name or YAML file, with `a.b=c` assignments carried out.

    Example:
        >>> load_run("digits", ["training.epochs=2"]).training.epochs
        2

    Raises:
        ConfigError: no such recipe or file, unknown key, wrong value.
    """
    return _load(recipe, assignments, RunConfig, RECIPES)


def load_teacher_run(recipe: str, assignments: Sequence[str] = ()) -> TeacherRunConfig:
    """The same for a recipe that trains a teacher."""
    return _load(recipe, assignments, TeacherRunConfig, TEACHER_RECIPES)


def _load(recipe: str, assignments: Sequence[str], kind: type[T], known: Mapping[str, Callable[[], T]]) -> T:
    mapping = _mapping(recipe, kind, known)
    for assignment in assignments:
        set_path(mapping, assignment)
    return parse(kind, mapping)


def _mapping(recipe: str, kind: type[T], known: Mapping[str, Callable[[], T]]) -> dict[str, Any]:
    if recipe in known:
        return dict(to_mapping(known[recipe]()))
    if not recipe.endswith((".yaml", ".yml")) and not Path(recipe).is_file():
        raise ConfigError(f"recipe {recipe!r} is not known and is no YAML file; {nearest(recipe, known)}")
    mapping = load_yaml(recipe)
    base = mapping.pop("recipe", None)
    if base is None:
        mapping.setdefault("name", Path(recipe).stem)
        whole = parse(kind, mapping)  # judged before defaults are filled in, so that errors name the user's keys
        return dict(to_mapping(whole))
    if base not in known:
        raise ConfigError(f"{recipe}: recipe {base!r} is not known; {nearest(str(base), known)}")
    mapping.setdefault("name", Path(recipe).stem)
    return merge(to_mapping(known[base]()), mapping)
