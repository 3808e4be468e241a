"""Language-model runs that are known to work, from a teacher of a few minutes to SmolLM2; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, load_yaml, merge, parse, set_path, to_mapping
from stillhouse.core.recipe_files import shipped_recipes
from stillhouse.families.lm.data.tokenizer import TOKENIZER_FILE
from stillhouse.families.lm.plan import LmRunConfig, LmTeacherRunConfig

T = TypeVar("T")
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


def load_lm_run(recipe: str, assignments: Sequence[str] = ()) -> LmRunConfig:
    """The configuration of a recipe name or YAML file, with `a.b=c` assignments carried out.

    A teacher that is named here brings its tokenizer, where its folder has one and `corpus.tokenizer` is not named too.

    Raises:
        ConfigError: no such recipe or file, unknown key, wrong value.

    Example:
        >>> load_lm_run("wikitext-2", ["student.mixer=gated"]).student.mixer
        'gated'
    """
    named = {assignment.partition("=")[0].strip() for assignment in assignments}
    return with_tokenizer(_load(recipe, assignments, LmRunConfig, RECIPES), named)


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


def load_lm_teacher(recipe: str, assignments: Sequence[str] = ()) -> LmTeacherRunConfig:
    """The same for a recipe that trains a teacher."""
    return _load(recipe, assignments, LmTeacherRunConfig, TEACHER_RECIPES)


def _load(recipe: str, assignments: Sequence[str], kind: type[T], known: Mapping[str, Callable[[], T]]) -> T:
    path = Path(recipe)
    mapping: dict[str, Any]
    if recipe in known:
        mapping = dict(to_mapping(known[recipe]()))
    elif path.is_file():
        mapping = load_yaml(path)
        mapping.setdefault("name", path.stem)
        if (base := mapping.pop("recipe", None)) is not None:
            if base not in known:
                raise ConfigError(f"{recipe}: recipe {base!r} is not known; {nearest(str(base), known)}")
            mapping = merge(to_mapping(known[base]()), mapping)
    else:
        raise ConfigError(f"recipe {recipe!r} is not known and is no YAML file; {nearest(recipe, known)}")
    for assignment in assignments:
        set_path(mapping, assignment)
    return parse(kind, mapping)
