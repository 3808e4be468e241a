"""Runs by name or from a YAML file, with changes on top: the one way in for every command. No torch of its own.

A recipe is a YAML file in `tasks/NAME/recipes/`, named in that package's `RECIPES` (name -> what returns a whole configuration); a
file of the user may start from one (`recipe: digits`) and change what it names. A file finds its task by itself (`RunPlan.owns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, apply_override, load_yaml, merge, parse, settings, to_mapping
from stillhouse.tasks import TASKS, task

if TYPE_CHECKING:  # commands look at their words before tasks are imported
    from stillhouse.core.task import Task

Known = Mapping[str, Callable[[], Any]]
DEFAULT = "classification"
RUN_ONLY = ("student", "signals", "arms", "seeds", "loss", "objective")  # keys of a run that no teacher's file has


def known() -> dict[str, Callable[[], Any]]:
    """Every recipe by its name."""
    return _all("RECIPES")


def known_teachers() -> dict[str, Callable[[], Any]]:
    """Every recipe that trains a teacher, of any task."""
    return _all("TEACHER_RECIPES")


def load(
    recipe: str, assignments: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> tuple[Task[Any, Any], Any]:
    """The task and the configuration of a recipe name or YAML file, with `a.b=c` assignments carried out.

    Args:
        recipe: a name or a file.
        assignments: `a.b=c`, in order.
        values: after them, dotted keys with ready values.

    Example:
        >>> task, config = load("digits", ["training.epochs=2"])
        >>> task.kind, config.training.epochs
        ('classification', 2)

    Raises:
        ConfigError: no such recipe or file, unknown key, wrong value.
    """
    base, mapping = _mapping(recipe, known())
    apply_override(mapping, assignments, values)
    owner = _owner(mapping)
    kind: Any = owner.Config
    if base is None or type(base) is kind:
        named = {*(assignment.partition("=")[0].strip() for assignment in assignments), *(values or {})}
        mapping = kind.completed(base, mapping, named)
    return owner, parse(kind, mapping)


def load_run(recipe: str, assignments: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Any:
    """The configuration alone.

    Example:
        >>> load_run("digits", ["training.epochs=2"]).training.epochs
        2
    """
    return load(recipe, assignments, values)[1]


def load_teacher_run(recipe: str, assignments: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a recipe or file that trains a teacher, of any task.

    Example:
        >>> load_teacher_run("digits-teacher").name, load_teacher_run("wikitext-2-teacher", ["window=64"]).window
        ('digits-teacher', 64)

    Raises:
        ConfigError: as `load`; a file that describes a whole run.
    """
    base, mapping = _mapping(recipe, known_teachers())
    owner = teacher_task(base) if base is not None else _owner(mapping, "TeacherRun")
    kind: Any = owner.TeacherRun
    if kind is None:
        raise ConfigError(
            f"{recipe}: task {owner.kind!r} trains no teacher; `stillhouse embed capture` asks one for vectors"
        )
    if whole := [key for key in mapping if key not in settings(kind) and key in RUN_ONLY]:
        raise ConfigError(
            f"{recipe} describes a whole run ({', '.join(whole)}), which `stillhouse distill` takes; a teacher's file holds "
            f"{', '.join(settings(kind))}"
        )
    apply_override(mapping, assignments, values)
    return parse(kind, mapping)


def teacher_task(config: Any) -> Task[Any, Any]:
    """The task that trains the teacher which a configuration describes."""
    return next(task(kind) for kind in TASKS if task(kind).TeacherRun is type(config))


def _all(name: str) -> dict[str, Callable[[], Any]]:
    recipes: dict[str, Callable[[], Any]] = {}
    for kind in TASKS:
        recipes |= getattr(import_module(f"stillhouse.tasks.{kind}.recipes"), name, {})
    return recipes


def _mapping(recipe: str, recipes: Known) -> tuple[Any, dict[str, Any]]:
    """The configuration that is started from (None for a whole file), and the run as plain data."""
    if recipe in recipes:
        base = recipes[recipe]()
        return base, dict(to_mapping(base))
    if not recipe.endswith((".yaml", ".yml")) and not Path(recipe).is_file():
        raise ConfigError(f"recipe {recipe!r} is not known and is no YAML file; {nearest(recipe, recipes)}")
    mapping = load_yaml(recipe)
    named = mapping.pop("recipe", None)
    mapping.setdefault("name", Path(recipe).stem)
    if named is None:
        return None, mapping
    if not isinstance(named, str):
        raise ConfigError(f"{recipe}: recipe: expected a name, got {named!r}")
    if named not in recipes:
        raise ConfigError(f"{recipe}: recipe {named!r} is not known; {nearest(named, recipes)}")
    base = recipes[named]()
    return base, merge(to_mapping(base), mapping)


def _owner(mapping: Mapping[str, Any], of: str = "Config") -> Task[Any, Any]:
    """The task of a run (or of the training of a teacher) as plain data; classes where nothing names another."""
    for kind in TASKS:
        kind_of_run = getattr(task(kind), of) or task(kind).Config
        if hasattr(kind_of_run, "owns") and kind_of_run.owns(mapping):
            return task(kind)
    return task(DEFAULT)
