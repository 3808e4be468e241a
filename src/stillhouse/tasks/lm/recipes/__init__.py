"""Language-model runs that are known to work, from a teacher of a few minutes to SmolLM2; no torch."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from stillhouse.core.recipe_files import shipped_recipes
from stillhouse.tasks.lm.data.tokenizer import TOKENIZER_FILE
from stillhouse.tasks.lm.plan import LmRunConfig, LmTeacherRunConfig

HERE = Path(__file__).parent
RECIPES = shipped_recipes(
    HERE,
    LmRunConfig,
    (
        "wikitext-2",
        "wikitext-2-counts",
        "wikitext-2-on-policy",
        "wikitext-2-bytes",
        "wikitext-2-pocl",
        "wikitext-2-inner",
        "tiny-shakespeare",
        "smollm2",
    ),
)
TEACHER_RECIPES = shipped_recipes(
    HERE / "teachers", LmTeacherRunConfig, ("wikitext-2-teacher", "tiny-shakespeare-teacher")
)


def with_tokenizer(config: LmRunConfig, named: AbstractSet[str]) -> LmRunConfig:
    """With the tokenizer of a teacher that was named; the same where it has none or a tokenizer was named too.

    Args:
        config: of a run.
        named: keys of the settings that were named beside its recipe or file.
    """
    own = (Path(config.teacher.source) / TOKENIZER_FILE).is_file() and config.teacher.tokens == "same"
    if own and "teacher.source" in named and not named & {"corpus", "corpus.tokenizer"}:
        return replace(config, corpus=replace(config.corpus, tokenizer=config.teacher.source))
    return config
