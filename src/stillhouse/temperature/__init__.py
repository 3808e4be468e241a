"""How soft the targets are, now and for this sample: fixed, on a schedule, learned against the student, or by entropy.

`TemperatureConfig` is the list; each file holds configurations and the parts that they build.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stillhouse.temperature.base import Temperature
from stillhouse.temperature.entropy import EntropyTemperature
from stillhouse.temperature.given import FixedTemperature, NumberTemperature, ScheduledTemperature
from stillhouse.temperature.learned import LearnedTemperature

__all__ = [
    "EntropyTemperature",
    "FixedTemperature",
    "LearnedTemperature",
    "NumberTemperature",
    "ScheduledTemperature",
    "Temperature",
    "TemperatureConfig",
]

TemperatureConfig = Annotated[
    FixedTemperature | ScheduledTemperature | LearnedTemperature | EntropyTemperature, Field(discriminator="kind")
]
