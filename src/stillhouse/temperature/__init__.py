"""How soft the targets are, now and for this sample: fixed, on a schedule, learned against the student, or by entropy.

`TemperatureConfig` is the list; configurations are without torch, and build objects that are called with both sides' logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from stillhouse.core.types import Progress
from stillhouse.temperature.config import (
    EntropyTemperature,
    FixedTemperature,
    LearnedTemperature,
    ScheduledTemperature,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EntropyTemperature",
    "FixedTemperature",
    "LearnedTemperature",
    "ScheduledTemperature",
    "Temperature",
    "TemperatureConfig",
]

TemperatureConfig = Annotated[
    FixedTemperature | ScheduledTemperature | LearnedTemperature | EntropyTemperature, Field(discriminator="kind")
]


class Temperature(Protocol):
    """What every `TemperatureConfig.build(student, teacher)` gives: an `nn.Module` where something is learned."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> float | Tensor:
        """A positive number, a tensor () with a gradient, or (B,) one a sample, for logits (B, K)."""
        ...

    def figures(self) -> dict[str, float]:
        """Of the last call: `temperature` (its mean), and `lambda` where there is an adversary; {} before the first."""
        ...

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """Terms of the last call that are added to the loss: name -> (weight, 0-d tensor)."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is learned, with its own learning rate and no weight decay; [] where nothing is."""
        ...
