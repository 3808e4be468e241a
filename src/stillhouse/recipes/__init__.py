"""Runs that are known to work. Each is a function that returns a whole `RunConfig` (or `TeacherRunConfig`); no torch.

A YAML file may start from one (`recipe: digits`) and change what it names.
"""

from stillhouse.recipes.load import RECIPES, TEACHER_RECIPES, load_run, load_teacher_run

__all__ = ["RECIPES", "TEACHER_RECIPES", "load_run", "load_teacher_run"]
