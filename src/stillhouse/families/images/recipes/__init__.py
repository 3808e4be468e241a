"""Runs of ordinary networks that are known to work, and the teachers that other recipes ask for; no torch."""

from __future__ import annotations

from pathlib import Path

from stillhouse.classification.plan import TeacherRunConfig
from stillhouse.core.recipe_files import shipped_recipes
from stillhouse.families.images.plan import ImagesRunConfig

HERE = Path(__file__).parent
RECIPES = shipped_recipes(
    HERE, ImagesRunConfig, ("digits-timm", "sst2-encoder", "sst2-spikebert", "sst2-distilbert", "sst2-tinybert")
)
TEACHER_RECIPES = shipped_recipes(
    HERE / "teachers", TeacherRunConfig, ("digits-teacher", "mnist-teacher", "fashion-mnist-teacher")
)
