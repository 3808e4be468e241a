"""Embedding runs that are known to work, and the documented settings as one of ours. No torch.

load_embedding("runs/corpus")                        the recipe `embedding` on vectors
load_embedding("mine.yaml", ["training.epochs=5"])   a file, which may start from one (`recipe: embedding-tree`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from stillhouse.core.config import ConfigError, load_yaml, merge, nearest, parse, set_path, to_mapping
from stillhouse.families.embed.data.vectors import VectorsConfig
from stillhouse.families.embed.documented.config import (
    CURRICULUM_CONFIG,
    DEFAULT_OPENAI_CONFIG,
    FAST_CONFIG,
    DistillationConfig,
)
from stillhouse.families.embed.documented.schedule import create_curriculum_schedule
from stillhouse.families.embed.plan import EmbedRunConfig
from stillhouse.families.embed.students import EmbeddingStudentConfig

DEFAULT = "embedding"
FILES = (".yaml", ".yml", ".json")
VECTORS = "vectors.npy"  # what a recipe by name reads; name others with data.path=
Mapped = dict[str, Any]


def embedding(path: str = VECTORS) -> EmbedRunConfig:
    """5 numbers: neighbours and distances at equal weight, 1200 steps of 1024 rows, 3 seeds, all controls."""
    anchors = ("pca", "random-projection", "truncation", "autoencoder", "umap")
    # its transform is weak, but whoever has it will ask
    more = ("pacmap",) if find_spec("pacmap") else ()
    return EmbedRunConfig(data=VectorsConfig(path=path), anchors=(*anchors, *more))  # type: ignore[arg-type]


def embedding_tree(path: str = VECTORS) -> EmbedRunConfig:
    """5, 25 and 125 numbers, each level the code of the one before made finer."""
    return replace(embedding(path), name="embedding-tree", student=EmbeddingStudentConfig(levels=(5, 25, 125)))


def embedding_fast(path: str = VECTORS) -> EmbedRunConfig:
    """A look in a minute: 200 steps, one seed, PCA and random projection beside it."""
    base = embedding(path)
    training = replace(base.training, epochs=8, warmup_epochs=1.0)
    lesson = replace(base.lesson, epoch_steps=25)
    anchors = ("pca", "random-projection")
    return replace(base, name="embedding-fast", training=training, lesson=lesson, anchors=anchors, seeds=1)  # type: ignore[arg-type]


def _preset(name: str, about: str) -> Callable[..., EmbedRunConfig]:
    """A recipe of a preset of document 004; the width of the vectors is as they come."""

    def made(path: str = VECTORS) -> EmbedRunConfig:
        base = replace(embedding(path), name=name)
        change = documented({key: value for key, value in PRESETS[name].to_dict().items() if key in PRESET_KEYS})
        return parse(EmbedRunConfig, merge(to_mapping(base), change))

    made.__doc__ = about  # `stillhouse list` prints it
    return made


PRESETS: Mapping[str, DistillationConfig] = {
    "embedding-documented": DEFAULT_OPENAI_CONFIG,
    "embedding-documented-curriculum": CURRICULUM_CONFIG,
    "embedding-documented-fast": FAST_CONFIG,
}
ABOUT_PRESETS = {
    "embedding-documented": "DEFAULT_OPENAI_CONFIG of document 004: tau 1, batches of 32 at 1e-4, up to 100 passes; ours beside it "
    "measured better.",
    "embedding-documented-curriculum": "CURRICULUM_CONFIG of document 004: five stages from tau 4 to 0.5, alpha 0.7; as good as no "
    "curriculum where measured.",
    "embedding-documented-fast": "FAST_CONFIG of document 004: tau 0.5, batches of 64, up to 20 passes.",
}
EMBEDDING_RECIPES: Mapping[str, Callable[..., EmbedRunConfig]] = {
    DEFAULT: embedding,
    "embedding-tree": embedding_tree,
    "embedding-fast": embedding_fast,
    **{name: _preset(name, about) for name, about in ABOUT_PRESETS.items()},
}
RECIPES = EMBEDDING_RECIPES


def load_embedding(source: str, assignments: Sequence[str] = (), *, recipe: str | None = None) -> EmbedRunConfig:
    """The run that a file describes, or a recipe on vectors, with `a.b=c` assignments carried out.

    Args:
        source: a .yaml or .json file (of our settings or of documented ones), or vectors: anything `open_vectors` takes.
        assignments: changes on top.
        recipe: what to start from. [as in the file, else `embedding`]

    Raises:
        ConfigError: no such recipe, unknown key, wrong value.
    """
    change: Mapped = {}
    if source.lower().endswith(FILES):
        change = load_yaml(source)
        named = change.pop("recipe", None)
        if named is not None and recipe is not None and named != recipe:
            raise ConfigError(f"--recipe {recipe}: {source} starts from {named!r}; leave one of them out")
        recipe = named or recipe
        if DOCUMENTED & set(change):
            change = documented(change, PRESETS.get(recipe or ""))
    else:
        change = {"data": {"path": source}}
    if recipe is not None and recipe not in EMBEDDING_RECIPES:
        raise ConfigError(f"recipe {recipe!r} is not known; {nearest(recipe, EMBEDDING_RECIPES)}")
    for assignment in assignments:
        set_path(change, assignment)
    data = change.get("data")
    path = data.get("path") if isinstance(data, dict) else None
    if not isinstance(path, str):
        raise ConfigError(f"{source}: data.path: missing; name the vectors of the teacher")
    base = to_mapping(EMBEDDING_RECIPES[recipe or DEFAULT](path))
    return parse(EmbedRunConfig, merge(base, change))


# ------------------------------------------------------------------------------------------------ documented settings

DOCUMENTED = set(DistillationConfig.__dataclass_fields__) - {"teacher_dim"}
PRESET_KEYS = DOCUMENTED - {"teacher_checkpoint", "save_dir", "save_every"}


def documented(settings: Mapping[str, Any], preset: DistillationConfig | None = None) -> Mapped:
    """Documented settings as changes of a run, on top of a preset if its recipe is what the run starts from.

    A temperature, or a curriculum of them, compares directions (output `sphere`); without one rows are compared by perplexity.
    `alpha` is the share of what is learnt from the teacher's relations, the rest goes to rebuilding its vector.
    `loss_type: kl` takes the vectors as scores of classes, of which the codes are as many. Epochs are passes over the rows.
    `save_dir` and `save_every` belong to the command (`--out`; each validation is saved).

    Raises:
        ConfigError: an unknown setting, or one that cannot be honoured here.

    Example:
        >>> change = documented({"teacher_checkpoint": "t.npy", "student_dim": 5, "alpha": 0.7, "max_epochs": 20})
        >>> change["data"], change["student"], change["training"]
        ({'path': 't.npy'}, {'levels': [5]}, {'epochs': 20})
        >>> {name: value if name == "epoch_steps" else round(value, 3) for name, value in change["lesson"].items()}
        {'epoch_steps': 'pass', 'neighbor_weight': 0.7, 'global_weight': 0.7, 'reconstruction_weight': 0.3}
    """
    known = DOCUMENTED | {"teacher_dim"}
    wrong = next((key for key in settings if key not in known), None)
    if wrong is not None:
        raise ConfigError(f"{wrong}: unknown key among documented ones; {nearest(wrong, known)}")
    _check_types(settings)
    start = {} if preset is None else {key: value for key, value in preset.to_dict().items() if key in PRESET_KEYS}
    given = {**start, **settings}
    try:
        whole = DistillationConfig(**given)  # judges every value, in the documented words
    except TypeError as error:
        raise ConfigError(str(error)) from None
    stages = sorted({"curriculum_stages", "curriculum_tau_schedule", "schedule_type"} & set(settings))
    if stages and not whole.curriculum and "curriculum" not in settings:
        raise ConfigError(f"{stages[0]}: does nothing without curriculum: true")
    changed, before = _changes(whole, given), {} if preset is None else _changes(preset, start)
    return {
        part: {name: value for name, value in new.items() if before.get(part, {}).get(name) != value}
        if isinstance(new, dict)
        else new
        for part, new in changed.items()
        if new != before.get(part)
    }


def _changes(whole: DistillationConfig, given: Mapped) -> Mapped:
    """What the given ones of these settings change in a run."""
    change: Mapped = {}
    places = {
        "teacher_checkpoint": ("data", "path"),
        "validation_split": ("data", "validation_fraction"),
        "batch_size": ("training", "batch_size"),
        "learning_rate": ("training", "learning_rate"),
        "max_epochs": ("training", "epochs"),
        "device": ("training", "device"),
        "early_stopping_patience": ("training", "patience"),
    }
    for key, (part, name) in places.items():
        if key in given:
            change.setdefault(part, {})[name] = given[key]
    if "teacher_dim" in given:
        change["teacher_dim"] = whole.teacher_dim
    if "student_dim" in given:
        change.setdefault("student", {})["levels"] = [whole.student_dim]
    lesson: Mapped = {"epoch_steps": "pass"} if "max_epochs" in given else {}
    classes = whole.loss_type == "kl"
    if "alpha" in given:
        compared = ("class_weight",) if classes else ("neighbor_weight", "global_weight")
        lesson |= {**dict.fromkeys(compared, whole.alpha), "reconstruction_weight": round(1 - whole.alpha, 12)}
    if classes:
        lesson = {"class_weight": 1.0, **lesson, "neighbor_weight": 0.0, "global_weight": 0.0}
        change.setdefault("student", {}).update({"normalize": False, "output": "euclidean"})
    taus = _temperatures(whole, given)
    if taus:
        lesson["tau"] = taus
        if not classes:
            change.setdefault("student", {})["output"] = "sphere"
    return {**change, "lesson": lesson} if lesson else change


def _check_types(given: Mapping[str, Any]) -> None:
    """The documented configuration compares without looking: a word where a number belongs would be a Python error."""
    for key, value in given.items():
        default = DistillationConfig.__dataclass_fields__[key].default
        entries = list(value) if isinstance(default, tuple) and isinstance(value, (list, tuple)) else [value]
        whole = isinstance(default, int)
        for entry in entries if isinstance(default, (int, float, tuple)) and not isinstance(default, bool) else []:
            if isinstance(entry, bool) or not isinstance(entry, int if whole else (int, float)):
                raise ConfigError(f"{key}: expected {'a whole number' if whole else 'a number'}, got {entry!r}")


def _temperatures(whole: DistillationConfig, given: Mapping[str, Any]) -> list[float]:
    """One a stage, or the one that was given."""
    if not whole.curriculum:
        return [whole.tau] if "tau" in given else []
    start, end = whole.curriculum_tau_schedule
    return list(create_curriculum_schedule(start, end, whole.curriculum_stages, whole.schedule_type).values)
