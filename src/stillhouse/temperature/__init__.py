"""How soft the targets are, now and for this sample: fixed, on a schedule, learned against the student, or by entropy.

`TemperatureConfig` is the list; each file holds configurations and the parts that they build.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stillhouse.temperature.entropy import EntropyTemperature
from stillhouse.temperature.given import FixedTemperature, NumberTemperature, ScheduledTemperature, Temperature
from stillhouse.temperature.learned import LearnedTemperature

TemperatureConfig = Annotated[
    FixedTemperature | ScheduledTemperature | LearnedTemperature | EntropyTemperature, Field(discriminator="kind")
]
