"""Temperatures that are given: a number, and one that follows a schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor

from stillhouse.core.config import configclass
from stillhouse.core.schedules import Constant, ScheduleConfig, reach
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.layers.part import TrainedPart


@configclass
class FixedTemperature:
    """One number for the whole run.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["fixed"] = "fixed"
    value: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by its square")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> GivenTemperature:
        """The number as a temperature."""
        return GivenTemperature(Constant(value=self.value))


@configclass
class ScheduledTemperature:
    """A number that follows a schedule over the steps, or over the stages of a curriculum, rising or falling.

    Source: rising: Liu et al. 2025, arXiv:2506.05695 (POCL); falling: Jafari et al. 2021, arXiv:2104.07163 (Annealing-KD).
    """

    kind: Literal["scheduled"] = "scheduled"
    schedule: ScheduleConfig = Field(description="the temperature over the run; the square in the loss moves with it")

    def __post_init__(self) -> None:
        lowest = reach(self.schedule)[0]
        if lowest <= 0:
            raise ValueError(f"schedule: expected temperatures above 0, got one that reaches {lowest}")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> GivenTemperature:
        """The schedule as a temperature."""
        return GivenTemperature(self.schedule)


class Temperature(TrainedPart, ABC):
    """What every `TemperatureConfig.build(student, teacher)` gives.

    `figures` has `temperature` (its mean), and `lambda` where there is an adversary; `groups` holds what is learned, with its
    own learning rate and no weight decay.
    """

    @abstractmethod
    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> float | Tensor:
        """A positive number, a tensor () with a gradient, or (B,) one a sample, for logits (B, K)."""


class NumberTemperature(Temperature):
    """A number that never changes, so that there is nothing to record."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, student_logits: Tensor | None, teacher_logits: Tensor | None, progress: Progress) -> float:
        """The number."""
        return self.value


class GivenTemperature(Temperature):
    """The number that a schedule gives now, whatever the logits are.

    Example:
        >>> from stillhouse.core.schedules import Linear
        >>> rising = GivenTemperature(Linear(start=1.0, end=4.0))
        >>> rising(None, None, Progress(step=50, total_steps=100)), rising.figures()
        (2.5, {'temperature': 2.5})
    """

    def __init__(self, schedule: Callable[[Progress], float]) -> None:
        super().__init__()
        self.schedule = schedule
        self._last: float | None = None

    def forward(self, student_logits: Tensor | None, teacher_logits: Tensor | None, progress: Progress) -> float:
        """The temperature now."""
        self._last = self.schedule(progress)
        return self._last

    def figures(self) -> dict[str, float]:
        """The temperature of the last call."""
        return {} if self._last is None else {"temperature": self._last}
