"""Embedding runs that are known to work; no torch.

load_embedding("runs/corpus")                        the recipe `embedding` on vectors
load_embedding("mine.yaml", ["training.epochs=5"])   a file, which may start from one (`recipe: embedding-tree`)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.core.config import (
    ConfigError,
    load_yaml,
    merge,
    nearest,
    parse,
    parse_assignment,
    set_path,
    shipped_recipes,
    to_mapping,
)
from stillhouse.tasks.embed.config import EmbedRunConfig
from stillhouse.tasks.embed.documented import DOCUMENTED, PRESETS, documented

RECIPES = shipped_recipes(
    Path(__file__).parent, EmbedRunConfig, ("embedding", "embedding-tree", "embedding-fast", *PRESETS)
)


def load_embedding(source: str, assignments: Sequence[str] = (), *, recipe: str | None = None) -> EmbedRunConfig:
    """The run that a file describes, or a recipe on vectors, with `a.b=c` assignments carried out.

    Args:
        source: a .yaml or .json file (of our settings or of documented ones), or vectors: anything `open_vectors` takes.
        assignments: changes on top.
        recipe: what to start from. [as in the file, else `embedding`]

    Raises:
        ConfigError: no such recipe, unknown key, wrong value.
    """
    change: dict[str, Any] = {"data": {"path": source}}
    if source.lower().endswith((".yaml", ".yml", ".json")):
        change = load_yaml(source)
        named = change.pop("recipe", None)
        recipe = recipe or named
        if DOCUMENTED & set(change):
            change = documented(change, PRESETS.get(recipe or ""))
    if (recipe := recipe or "embedding") not in RECIPES:
        raise ConfigError(f"recipe {recipe!r} is not known; {nearest(recipe, RECIPES)}")
    for assignment in assignments:
        set_path(change, *parse_assignment(assignment))
    return parse(EmbedRunConfig, merge(to_mapping(RECIPES[recipe]()), change))
