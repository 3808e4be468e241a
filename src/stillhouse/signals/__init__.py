"""What a student may learn from a teacher. A signal picks tensors by name, joins their shapes and calls one loss.

`SignalConfig` is the list of signals; configurations are here, without torch, and build the parts that own tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.attention import AttentionConfig
from stillhouse.signals.config.contrastive import ContrastiveConfig
from stillhouse.signals.config.dual_head import DualHeadConfig
from stillhouse.signals.config.dynamics import DynamicsConfig
from stillhouse.signals.config.ensemble import EnsembleConfig
from stillhouse.signals.config.exits import ExitsConfig
from stillhouse.signals.config.features import FeaturesConfig
from stillhouse.signals.config.hidden import HiddenConfig
from stillhouse.signals.config.logits import LogitsConfig
from stillhouse.signals.config.probes import ProbesConfig
from stillhouse.signals.config.relations import RelationsConfig

if TYPE_CHECKING:
    from torch import nn

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
    | ContrastiveConfig,
    Field(discriminator="kind"),
]


def student_features(configs: Sequence[Any]) -> tuple[str, ...]:
    """Paths to tap in the student, each once."""
    return tuple(dict.fromkeys(path for config in configs for path in _paths(config, "student_features")))


def teacher_features(configs: Sequence[Any]) -> tuple[str, ...]:
    """Paths to tap in the teacher, each once."""
    return tuple(dict.fromkeys(path for config in configs for path in _paths(config, "teacher_features")))


def needs_teacher(config: Any) -> bool:
    """Whether a signal listens to a teacher; one that a network learns from itself does not."""
    return bool(getattr(type(config), "needs_teacher", True))


def _paths(config: Any, side: str) -> tuple[str, ...]:
    method = getattr(config, side, None)
    return tuple(method()) if callable(method) else ()


def build_signals(configs: Sequence[Any], student: OutputSpec, teacher: OutputSpec) -> nn.ModuleList:
    """All signals of a run.

    Raises:
        InputError: two of one name, or one of a name of the run's own, would overwrite each other in the record of terms.
    """
    from torch import nn

    signals = nn.ModuleList(config.build(student, teacher) for config in configs)
    names = [str(signal.name) for signal in signals]
    twice = sorted({name for name in names if names.count(name) > 1})
    taken = sorted(RESERVED.intersection(names))
    if taken:
        raise InputError(f"signals: the name {taken[0]!r} belongs to the run's own record; choose another")
    if twice:
        raise InputError(f"signals: expected different names, {', '.join(map(repr, twice))} stands more than once")
    return signals
