"""Language-model runs that are known to work, from a teacher of a few minutes to SmolLM2; no torch."""

from __future__ import annotations

from pathlib import Path

from stillhouse.core.config import shipped_recipes
from stillhouse.tasks.lm.plan import LmRunConfig, LmTeacherRunConfig

HERE = Path(__file__).parent
OF_WIKITEXT = ("", "-counts", "-bytes", "-pocl", "-inner")
NAMES = (*(f"wikitext-2{name}" for name in OF_WIKITEXT), "tiny-shakespeare", "smollm2")
RECIPES = shipped_recipes(HERE, LmRunConfig, NAMES)
TEACHER_RECIPES = shipped_recipes(
    HERE / "teachers", LmTeacherRunConfig, ("wikitext-2-teacher", "tiny-shakespeare-teacher")
)
