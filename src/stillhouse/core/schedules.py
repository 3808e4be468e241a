"""A number that changes over a run: temperatures, weights, the strength of an adversary. No torch.

Every schedule names its `start` and its `end`, so that rising and falling are both plain to see. The literature disagrees on
the direction: CTKD and POCL raise the temperature (sharp targets first), Annealing-KD (arXiv:2104.07163) and DTS
(arXiv:2511.13767) lower it. Nothing here prefers one.

`over: steps` moves with every optimizer step, by the share of the run that is done. `over: stages` holds one value for each
stage of a curriculum: stage s of S lies at s / (S - 1), so the first stage has `start` and the last has `end`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Progress

Over = Literal["steps", "stages"]

START = "value at the beginning, or in the first stage"
END = "value at the end, or in the last stage"
OVER = "steps: moves all the time; stages: one value for each stage of a curriculum"
UNTIL = "share of the run after which the end value holds"


@configclass
class Constant:
    """The same value throughout.

    Example:
        >>> Constant(value=4.0)(Progress(step=7, total_steps=10))
        4.0
    """

    over: ClassVar[Over] = "steps"

    kind: Literal["constant"] = "constant"
    value: float = Field(description="the value")

    def __call__(self, progress: Progress) -> float:
        """The value."""
        return self.value


@configclass
class _Ramp(ABC):
    """From one value to another; a subclass says how, by x in [0, 1]."""

    kind: str  # first, as it stands in YAML
    start: float = Field(description=START)
    end: float = Field(description=END)
    over: Over = Field(default="steps", description=OVER)
    until: float = Field(default=1.0, gt=0, le=1, description=UNTIL)

    def __post_init__(self) -> None:
        if self.over == "stages" and self.until != 1.0:
            raise ValueError(f"until: is a share of the steps; leave it out with over 'stages', got {self.until}")

    def __call__(self, progress: Progress) -> float:
        """The value now; exact at both ends."""
        x = _position(progress, self.over, self.until)
        return (self.start, self.end)[int(x)] if x in (0, 1) else self.at(x)

    @abstractmethod
    def at(self, x: float) -> float:
        """The value at a place between start and end."""


@configclass
class Linear(_Ramp):
    """start + (end - start) x, with x from 0 to 1.

    Example:
        Rising over four stages, as POCL's temperature: 1, 4/3, 5/3, 2.

        >>> rising = Linear(start=1.0, end=2.0, over="stages")
        >>> [round(rising(Progress(0, 1, stage=s, stages=4)), 3) for s in range(4)]
        [1.0, 1.333, 1.667, 2.0]

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL), section 3.
    """

    kind: Literal["linear"] = "linear"

    def at(self, x: float) -> float:
        """On the straight line."""
        return self.start + (self.end - self.start) * x


@configclass
class Cosine(_Ramp):
    """start + (end - start) (1 - cos(pi x)) / 2: slow at both ends.

    Example:
        >>> ramp = Cosine(start=0.0, end=1.0, until=0.5)
        >>> [round(ramp(Progress(step, 100)), 3) for step in (0, 25, 50, 100)]
        [0.0, 0.5, 1.0, 1.0]

    Source: Li et al. 2023, arXiv:2211.16231 (CTKD), section 3.2.
    """

    kind: Literal["cosine"] = "cosine"

    def at(self, x: float) -> float:
        """On half a wave."""
        return self.start + (self.end - self.start) * (1.0 - math.cos(math.pi * x)) / 2


@configclass
class Exponential(_Ramp):
    """start (end / start)^x: the same factor in the same time, both ends above 0.

    Example:
        >>> falling = Exponential(start=4.0, end=0.25)
        >>> round(falling(Progress(step=50, total_steps=100)), 6)
        1.0
    """

    kind: Literal["exponential"] = "exponential"
    start: float = Field(gt=0, description=START)
    end: float = Field(gt=0, description=END)

    def at(self, x: float) -> float:
        """On a straight line of logarithms."""
        start, end = math.log(self.start), math.log(self.end)
        return math.exp(start + (end - start) * x)


@configclass
class Steps:
    """Listed values, one after another.

    Over steps, `at` lists the shares of the run at which the next value begins. Over stages, value s belongs to stage s (the
    last value to every later stage) and `at` stays empty.

    Example:
        >>> schedule = Steps(values=(1.0, 1.5, 2.0), at=(0.4, 0.7))
        >>> [schedule(Progress(step, 10)) for step in (0, 3, 4, 7, 10)]
        [1.0, 1.0, 1.5, 2.0, 2.0]
    """

    kind: Literal["steps"] = "steps"
    values: tuple[float, ...] = Field(min_length=1, description="the values in order")
    at: tuple[float, ...] = Field(default=(), description="shares of the run at which the second, third, ... begins")
    over: Over = Field(default="steps", description=OVER)

    def __post_init__(self) -> None:
        several = 0 if self.over == "stages" else len(self.values) - 1  # a stage takes the value of its number
        if len(self.at) != several or list(self.at) != sorted({share for share in self.at if 0 < share < 1}):
            raise ValueError(f"at: expected {several} rising shares strictly between 0 and 1, got {self.at}")

    def __call__(self, progress: Progress) -> float:
        """The value now."""
        if self.over == "stages":
            return self.values[min(max(0, progress.stage), len(self.values) - 1)]
        return self.values[sum(progress.fraction >= share for share in self.at)]


ScheduleConfig = Annotated[Constant | Linear | Cosine | Exponential | Steps, Field(discriminator="kind")]


def reach(schedule: Constant | Linear | Cosine | Exponential | Steps) -> tuple[float, float]:
    """The smallest and the largest value that a schedule takes, so that a range can be checked before the run.

    Example:
        >>> reach(Linear(start=4.0, end=0.5))
        (0.5, 4.0)
    """
    if isinstance(schedule, Constant):
        return schedule.value, schedule.value
    if isinstance(schedule, Steps):
        return min(schedule.values), max(schedule.values)
    return min(schedule.start, schedule.end), max(schedule.start, schedule.end)


def _position(progress: Progress, over: Over, until: float) -> float:
    """Where a run is between start and end, in [0, 1].

    Raises:
        InputError: over stages in a run of one stage, where nothing names whether that one is the first or the last.
    """
    if over == "steps":
        return min(1.0, max(0.0, progress.fraction) / until)
    if progress.stages < 2:
        raise InputError(
            "schedule: expected a curriculum of at least two stages for over 'stages', got a run of one stage"
        )
    return min(1.0, max(0, progress.stage) / (progress.stages - 1))
