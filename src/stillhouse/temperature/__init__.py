"""How soft the targets are, now and for this sample: fixed, on a schedule, learned against the student, or by entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from stillhouse.temperature.given import (
    HOTTEST,
    EntropyTemperature,
    FixedTemperature,
    ScheduledTemperature,
    Temperature,
)
from stillhouse.temperature.learned import LearnedTemperature

TemperatureConfig = Annotated[
    FixedTemperature | ScheduledTemperature | LearnedTemperature | EntropyTemperature, Field(discriminator="kind")
]


def _of_number(given: Any) -> Any:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return FixedTemperature(value=given) if is_number else given


if TYPE_CHECKING:
    Softness = FixedTemperature | ScheduledTemperature | LearnedTemperature | EntropyTemperature
else:
    Softness = Annotated[TemperatureConfig, BeforeValidator(_of_number)]
