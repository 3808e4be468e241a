"""The documented YAML files of the focusing task, corrected, and versions of them that a CPU trains in minutes. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError

HERE = Path(__file__).parent
TEACHERS = {"s4_ssm_student": "s4_ssm_complex", "s4_ssm_student_toy": "s4_ssm_complex_toy"}  # of whom a student learns
FILES = {path.stem: path for path in (*HERE.glob("*.yaml"), *HERE.glob("teachers/*.yaml"))}


def recipe_path(name: str) -> Path:
    """The YAML file of a path, or of a shipped recipe by its name, with or without `.yaml`.

    Raises:
        ConfigError: neither; the message names the shipped recipe that is near.

    Example:
        >>> recipe_path("s4_ssm_student_toy").name
        's4_ssm_student_toy.yaml'
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    stem = name.removesuffix(".yaml").removesuffix(".yml")
    if stem not in FILES:
        raise ConfigError(f"cannot read {name}: no such file, and no recipe of that name; {nearest(path.stem, FILES)}")
    return FILES[stem]


def _recipe(name: str) -> Callable[[], Any]:
    def read() -> Any:
        from stillhouse.tasks.sar.documented import read_student, read_teacher, save_folder

        if name not in TEACHERS:
            return read_teacher(FILES[name])
        teacher = FILES[TEACHERS[name]]
        return read_student(FILES[name], teacher, str(save_folder(teacher)))

    return read


RECIPES = {name: _recipe(name) for name in TEACHERS}
TEACHER_RECIPES = {name: _recipe(name) for name in TEACHERS.values()}
