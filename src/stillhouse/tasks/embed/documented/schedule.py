"""Temperatures by stage, as the document has them: from a high one to a low one, in a fixed number of stages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from stillhouse.core.checks import InputError

ScheduleType = Literal["linear", "exponential", "cosine"]


@dataclass(frozen=True)
class CurriculumSchedule:
    """stage -> temperature; a value, so that it compares, pickles and goes into a checkpoint. See `create_curriculum_schedule`."""

    start_tau: float
    end_tau: float
    num_stages: int
    schedule_type: ScheduleType = "linear"

    def __post_init__(self) -> None:
        for name in ("start_tau", "end_tau"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be positive, got {value}")
        if self.start_tau <= self.end_tau:
            raise InputError(f"start_tau must be greater than end_tau, got {self.start_tau} and {self.end_tau}")
        if self.num_stages < 1:
            raise InputError(f"num_stages must be at least 1, got {self.num_stages}")
        if self.schedule_type not in get_args(ScheduleType):
            raise InputError(f"schedule_type must be 'linear', 'exponential', or 'cosine', got {self.schedule_type}")

    def __call__(self, stage: int) -> float:
        """The temperature of a stage, counted from 0; a stage beyond the ends has the temperature of the end."""
        last = self.num_stages - 1
        stage = min(max(stage, 0), last)
        if last == 0 or stage == 0:
            return float(self.start_tau)
        if stage == last:
            return float(self.end_tau)
        p, fall = stage / last, self.start_tau - self.end_tau
        if self.schedule_type == "linear":
            return self.start_tau - fall * p
        if self.schedule_type == "exponential":
            return float(self.start_tau * (self.end_tau / self.start_tau) ** p)
        return self.start_tau - fall * (1.0 - math.cos(math.pi * p)) / 2.0

    @property
    def values(self) -> tuple[float, ...]:
        """The temperature of every stage."""
        return tuple(self(stage) for stage in range(self.num_stages))


def create_curriculum_schedule(
    start_tau: float,
    end_tau: float,
    num_stages: int,
    schedule_type: ScheduleType = "linear",
) -> CurriculumSchedule:
    """Temperatures of a curriculum: many neighbors count at first (high tau), the nearest at the end (low tau).

    No falling schedule was better than one temperature where that was measured (docs/embedding.md): a low one alone was as good or
    better.

    Args:
        start_tau: of stage 0.
        end_tau: of the last stage, above 0.
        num_stages: how many; a single stage has `start_tau`.
        schedule_type: `linear`: equal differences. `exponential`: equal ratios, which falls fastest at FIRST (in the document:
            the opposite). `cosine`: slow at both ends, the gentle start.

    Returns:
        A picklable object: call it with a stage; `.values` lists all.

    Raises:
        InputError: a temperature that is not positive, start not above end, no stage, an unknown type.

    Example:
        >>> for kind in ("linear", "exponential", "cosine"):
        ...     print(" ".join(f"{tau:.3f}" for tau in create_curriculum_schedule(4.0, 0.5, 5, kind).values))
        4.000 3.125 2.250 1.375 0.500
        4.000 2.378 1.414 0.841 0.500
        4.000 3.487 2.250 1.013 0.500

    Source: Bengio et al. 2009 (curriculum learning); Jafari et al. 2021, arXiv:2104.07163 (annealed temperature).
    """
    return CurriculumSchedule(start_tau, end_tau, num_stages, schedule_type)
