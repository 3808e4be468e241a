"""What a student may learn from a teacher. A signal picks tensors by name, joins their shapes and calls one loss.

`SignalConfig` is the list of signals; configurations are here, without torch, and build the parts that own tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stillhouse.checks import InputError
from stillhouse.signals.config.features import FeaturesConfig
from stillhouse.signals.config.logits import LogitsConfig
from stillhouse.types import OutputSpec

if TYPE_CHECKING:
    from torch import nn

SignalConfig = Annotated[LogitsConfig | FeaturesConfig, Field(discriminator="kind")]


def student_features(configs: Sequence[LogitsConfig | FeaturesConfig]) -> tuple[str, ...]:
    """Paths to tap in the student."""
    return tuple(dict.fromkeys(c.student for c in configs if isinstance(c, FeaturesConfig)))


def teacher_features(configs: Sequence[LogitsConfig | FeaturesConfig]) -> tuple[str, ...]:
    """Paths to tap in the teacher."""
    return tuple(dict.fromkeys(c.teacher for c in configs if isinstance(c, FeaturesConfig)))


def build_signals(
    configs: Sequence[LogitsConfig | FeaturesConfig], student: OutputSpec, teacher: OutputSpec
) -> nn.ModuleList:
    """All signals of a run.

    Raises:
        InputError: two of one name would overwrite each other in the record of terms.
    """
    from torch import nn

    signals = nn.ModuleList(config.build(student, teacher) for config in configs)
    names = [str(signal.name) for signal in signals]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"signals: expected different names, {', '.join(map(repr, twice))} stands more than once")
    return signals
