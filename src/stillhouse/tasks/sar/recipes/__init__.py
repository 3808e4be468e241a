"""The documented YAML files of the focusing task, corrected, and versions of them that a CPU trains in minutes. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError

if TYPE_CHECKING:
    from stillhouse.tasks.sar.plan import SarDistillConfig, SarTrainConfig

HERE = Path(__file__).parent
SAR_RECIPES = {
    "s4_ssm_complex": "the documented teacher (64 / 540 / 6, gate), on Zarr products",
    "s4_ssm_student": "the documented student of it, without the gate",
    "s4_ssm_complex_toy": "a teacher for simulated lines of 64 pulses an aperture, minutes on a CPU",
    "s4_ssm_student_toy": "a streaming student of that teacher",
}
TRAINED = ("s4_ssm_complex", "s4_ssm_complex_toy")  # on the truth alone; the others need a teacher


def recipe_path(name: str) -> Path:
    """The YAML file of a path, or of a shipped recipe by its name, with or without `.yaml`.

    Raises:
        ConfigError: neither; the message names the shipped recipe that a path's last part is.

    Example:
        >>> recipe_path("s4_ssm_student_toy").name
        's4_ssm_student_toy.yaml'
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    if stem in SAR_RECIPES and path.parent == Path():
        return HERE / f"{stem}.yaml"
    if stem in SAR_RECIPES:
        raise ConfigError(f"cannot read {name}: no such file; the recipe of that name is shipped: take {stem}")
    raise ConfigError(f"cannot read {name}: no such file, and no recipe of that name; {nearest(stem, SAR_RECIPES)}")


def s4_ssm_student() -> SarDistillConfig:
    """The documented student of the documented teacher, on Zarr products; train the teacher first (`sar train`)."""
    return _distilled("s4_ssm_student", "s4_ssm_complex")


def s4_ssm_student_toy() -> SarDistillConfig:
    """A streaming student on simulated lines, minutes on a CPU; first `stillhouse sar train --config s4_ssm_complex_toy`."""
    return _distilled("s4_ssm_student_toy", "s4_ssm_complex_toy")


def _distilled(student: str, teacher: str) -> SarDistillConfig:
    """The run of two shipped files; the teacher lies where `sar train` leaves it."""
    from stillhouse.tasks.sar.documented import read_student, read_teacher, save_folder

    path = recipe_path(teacher)
    return read_student(recipe_path(student), read_teacher(path), save_folder(path) or f"results/{teacher}")


def _trained(name: str) -> Callable[[], SarTrainConfig]:
    """A shipped file that is trained on the truth, as a recipe."""

    def read() -> SarTrainConfig:
        from stillhouse.tasks.sar.documented import read_teacher

        return read_teacher(recipe_path(name))

    read.__doc__ = SAR_RECIPES[name][0].upper() + SAR_RECIPES[name][1:] + "."
    return read


TEACHER_RECIPES: Mapping[str, Callable[[], SarTrainConfig]] = {name: _trained(name) for name in TRAINED}
RECIPES: Mapping[str, Callable[[], SarDistillConfig]] = {
    "s4_ssm_student": s4_ssm_student,
    "s4_ssm_student_toy": s4_ssm_student_toy,
}
