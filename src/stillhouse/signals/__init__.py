"""What a student may learn from a teacher. A signal picks tensors by name, joins their shapes and calls one loss.

Each file holds one signal: its frozen configuration, and the module that the configuration builds. `SignalConfig` is the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import Field
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import OutputSpec
from stillhouse.signals.attention import AttentionConfig
from stillhouse.signals.base import Signal, SignalBase
from stillhouse.signals.clause_targets import ClauseTargetsConfig
from stillhouse.signals.dynamics import DynamicsConfig
from stillhouse.signals.ensemble import EnsembleConfig
from stillhouse.signals.exits import DualHeadConfig, ExitsConfig, OfaConfig, ProbesConfig
from stillhouse.signals.features import FeaturesConfig
from stillhouse.signals.hidden import HiddenConfig
from stillhouse.signals.logits import LogitsConfig
from stillhouse.signals.relations import ContrastiveConfig, RelationsConfig

RESERVED = frozenset({"labels", "loss"})  # names of the terms that every training has
SignalConfig = Annotated[
    LogitsConfig
    | FeaturesConfig
    | HiddenConfig
    | RelationsConfig
    | AttentionConfig
    | DynamicsConfig
    | EnsembleConfig
    | ExitsConfig
    | DualHeadConfig
    | ProbesConfig
    | ContrastiveConfig
    | OfaConfig
    | ClauseTargetsConfig,
    Field(discriminator="kind"),
]


def student_features(configs: Sequence[SignalBase]) -> tuple[str, ...]:
    """Paths to tap in the student, each once."""
    return tuple(dict.fromkeys(path for config in configs for path in config.student_paths))


def teacher_features(configs: Sequence[SignalBase]) -> tuple[str, ...]:
    """Paths to tap in the teacher, each once."""
    return tuple(dict.fromkeys(path for config in configs for path in config.teacher_paths))


def build_signals(configs: Sequence[SignalBase], student: OutputSpec, teacher: OutputSpec) -> nn.ModuleList:
    """All signals of a run.

    Raises:
        InputError: two of one name, or one of a name of the run's own, would overwrite each other in the record of terms.
    """
    signals = [config.build(student, teacher) for config in configs]
    for config, signal in zip(configs, signals):
        signal.reads_labels = config.reads_labels
        signal.compares = (config.student_paths, config.teacher_paths) if config.compares_samples else None
    names = [signal.name for signal in signals]
    twice = sorted({name for name in names if names.count(name) > 1})
    taken = sorted(RESERVED.intersection(names))
    if taken:
        raise InputError(f"signals: the name {taken[0]!r} belongs to the run's own record; choose another")
    if twice:
        raise InputError(f"signals: expected different names, {', '.join(map(repr, twice))} stands more than once")
    return nn.ModuleList(signals)


def signals_in(modules: nn.ModuleList) -> list[Signal]:
    """The signals of a list, for its reader: torch does not type what a `ModuleList` holds."""
    return cast("list[Signal]", list(modules))
