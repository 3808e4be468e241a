"""Settings of document 004 as those of a run. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.core.config import ConfigError, nearest
from stillhouse.tasks.embed.documented.config import (
    CURRICULUM_CONFIG,
    DEFAULT_OPENAI_CONFIG,
    FAST_CONFIG,
    DistillationConfig,
)
from stillhouse.tasks.embed.documented.schedule import create_curriculum_schedule

Mapped = dict[str, Any]
PRESETS: Mapping[str, DistillationConfig] = {  # recipes, whose files say the same in our settings
    "embedding-documented": DEFAULT_OPENAI_CONFIG,
    "embedding-documented-curriculum": CURRICULUM_CONFIG,
    "embedding-documented-fast": FAST_CONFIG,
}
FIELDS = DistillationConfig.__dataclass_fields__
DOCUMENTED = set(FIELDS) - {"teacher_dim"}
PRESET_KEYS = DOCUMENTED - {"teacher_checkpoint", "save_dir", "save_every"}
PLACES = {
    "teacher_checkpoint": ("data", "path"),
    "validation_split": ("data", "validation_fraction"),
    "batch_size": ("training", "batch_size"),
    "learning_rate": ("training", "learning_rate"),
    "max_epochs": ("training", "epochs"),
    "device": ("training", "device"),
    "early_stopping_patience": ("training", "patience"),
}


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
        >>> {name: value if name == "epoch_steps" else round(value, 3) for name, value in change["loss"].items()}
        {'epoch_steps': 'pass', 'neighbor_weight': 0.7, 'global_weight': 0.7, 'reconstruction_weight': 0.3}
    """
    wrong = next((key for key in settings if key not in FIELDS), None)
    if wrong is not None:
        raise ConfigError(f"{wrong}: unknown key among documented ones; {nearest(wrong, FIELDS)}")
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
    for key, (part, name) in PLACES.items():
        if key in given:
            change.setdefault(part, {})[name] = given[key]
    if "teacher_dim" in given:
        change["teacher_dim"] = whole.teacher_dim
    student: Mapped = {"levels": [whole.student_dim]} if "student_dim" in given else {}
    loss: Mapped = {"epoch_steps": "pass"} if "max_epochs" in given else {}
    classes = whole.loss_type == "kl"
    if "alpha" in given:
        compared = ("class_weight",) if classes else ("neighbor_weight", "global_weight")
        loss |= {**dict.fromkeys(compared, whole.alpha), "reconstruction_weight": round(1 - whole.alpha, 12)}
    if classes:
        loss = {"class_weight": 1.0, **loss, "neighbor_weight": 0.0, "global_weight": 0.0}
        student |= {"normalize": False, "output": "euclidean"}
    if taus := _temperatures(whole, given):
        loss["tau"] = taus
        student |= {} if classes else {"output": "sphere"}
    return change | {part: new for part, new in (("student", student), ("loss", loss)) if new}


def _check_types(given: Mapping[str, Any]) -> None:
    """The documented configuration compares without looking: a word where a number belongs would be a Python error."""
    for key, value in given.items():
        default = FIELDS[key].default
        if not isinstance(default, (int, float, tuple)) or isinstance(default, bool):
            continue
        whole = isinstance(default, int)
        for entry in value if isinstance(default, tuple) and isinstance(value, (list, tuple)) else [value]:
            if isinstance(entry, bool) or not isinstance(entry, int if whole else (int, float)):
                raise ConfigError(f"{key}: expected {'a whole number' if whole else 'a number'}, got {entry!r}")


def _temperatures(whole: DistillationConfig, given: Mapping[str, Any]) -> list[float]:
    """One a stage, or the one that was given."""
    if not whole.curriculum:
        return [whole.tau] if "tau" in given else []
    start, end = whole.curriculum_tau_schedule
    return list(create_curriculum_schedule(start, end, whole.curriculum_stages, whole.schedule_type).values)
