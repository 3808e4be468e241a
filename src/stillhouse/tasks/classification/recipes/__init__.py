"""Runs that learn classes and are known to work, and the teachers that other recipes ask for; no torch."""

from __future__ import annotations

from pathlib import Path

from stillhouse.core.config import shipped_recipes
from stillhouse.tasks.classification.plan import ClassificationRunConfig, TeacherRunConfig

HERE = Path(__file__).parent
WORDS = ("banking",)
CLAUSES = ("digits", "mnist", "mnist-documented", "fashion-mnist", "mnist-flat", "cifar10", "cifar10-flat")
NETWORKS = ("digits-timm", "sst2-encoder", "sst2-spikebert", "sst2-distilbert", "sst2-tinybert")
RECIPES = shipped_recipes(HERE, ClassificationRunConfig, (*WORDS, *CLAUSES, *NETWORKS))
TEACHER_RECIPES = shipped_recipes(
    HERE / "teachers", TeacherRunConfig, ("digits-teacher", "mnist-teacher", "fashion-mnist-teacher")
)
