"""Temperatures without weights: a number, one that follows a schedule, and one that gives a chosen entropy. B batch, K classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.schedules import ScheduleConfig, reach
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.layers.part import TrainedPart
from stillhouse.losses.softened import wide

# beyond it the loss is half of centered-mse to a hundredth, and what is left of float32 fewer than four digits
HOTTEST = 1000.0
HALVINGS = 40  # of log(high / low): far below what float32 resolves


@configclass
class FixedTemperature:
    """One number for the whole run.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["fixed"] = "fixed"
    value: float = Field(
        default=2.0, gt=0, le=HOTTEST, description="softens both sides; the loss is multiplied by its square"
    )

    def build(self, student: OutputSpec, teacher: OutputSpec) -> NumberTemperature:
        """The number as a temperature."""
        return NumberTemperature(self.value)


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


@configclass
class EntropyTemperature:
    """For each sample the temperature at which the teacher's softened scores have a chosen entropy.

    Every soft target then holds equally much beside its first choice: a sure teacher is softened more than an unsure one.
    Solved by bisection, as the neighborhoods of SNE are for a perplexity; nothing is learned and no gradient flows.

    Source: the bisection for a set perplexity: van der Maaten, Hinton 2008 (JMLR 9), section 2; uneven entropy of soft labels
    under one temperature, and temperatures per sample against it: Luong et al. 2026, arXiv:2605.20357.
    """

    kind: Literal["entropy"] = "entropy"
    share: float = Field(default=0.5, gt=0, lt=1, description="target entropy as a share of ln K, its largest value")
    low: float = Field(default=1.0, gt=0, description="lower bound, also where the target needs less")
    high: float = Field(default=20.0, gt=0, description="upper bound, also where the target needs more")

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low ({self.low}), got {self.high}")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> EntropyMatching:
        """The module.

        Raises:
            InputError: a single class, whose entropy is always 0.
        """
        if teacher.num_classes < 2:
            raise InputError(
                f"temperature 'entropy': expected at least 2 classes of the teacher, got {teacher.num_classes}"
            )
        return EntropyMatching(self)


class Temperature(TrainedPart, ABC):
    """What every `TemperatureConfig.build(student, teacher)` gives.

    `figures` has `temperature` (its mean), and `lambda` where there is an adversary; `groups` holds what is learned, with its
    own learning rate and no weight decay. `reads_scores`: whether it needs all class scores.
    """

    reads_scores: ClassVar[bool] = False

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


class EntropyMatching(Temperature):
    """For each sample the temperature at which the teacher's entropy is `share` of ln K; no gradient.

    The loss is multiplied by its square, so that a sure row, softened more, keeps a gradient of the usual size.
    """

    reads_scores = True

    def __init__(self, config: EntropyTemperature) -> None:
        super().__init__()
        self.config = config
        self._last: Tensor | None = None

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> Tensor:
        """(B,) for the teacher's logits (B, K)."""
        target = self.config.share * math.log(teacher_logits.shape[1])
        self._last = temperature_of_entropy(teacher_logits, target=target, low=self.config.low, high=self.config.high)
        return self._last

    def figures(self) -> dict[str, float]:
        """Mean and spread of the last batch's temperatures."""
        if self._last is None:
            return {}
        return {
            "temperature": self._last.mean().item(),
            "temperature-spread": self._last.std(correction=0).item(),
        }


@torch.no_grad()
def temperature_of_entropy(logits: Tensor, *, target: float, low: float, high: float) -> Tensor:
    """Solve H(softmax(z / T)) = target for T, row by row, by bisection in log T.

    The entropy rises with T (its slope is the variance of z under the distribution, over T^3), so there is one solution;
    where it lies outside the bounds, the nearer bound is given.

    Args:
        logits: (B, K).
        target: nats, from 0 to ln K.
        low: smallest temperature given.
        high: largest temperature given.

    Returns:
        (B,) in [low, high]. A row whose entropy does not depend on T (all logits equal) gets a bound; so does a row with a
        NaN, which the loss then shows.

    Example:
        Two classes 4 apart have the entropy of (3/4, 1/4), 0.5623 nats, where 4 / T = ln 3.

        >>> t = temperature_of_entropy(torch.tensor([[4.0, 0.0]]), target=0.562335, low=0.1, high=50.0)
        >>> round(t.item(), 2), round(4 / math.log(3), 2)
        (3.64, 3.64)

    Source: van der Maaten, Hinton 2008 (JMLR 9), section 2 (the bisection for a set perplexity, exp of this entropy).
    """
    z = wide(logits)
    below = torch.full(z.shape[:1], math.log(low), dtype=z.dtype, device=z.device)
    above = torch.full_like(below, math.log(high))
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        reached = _entropy(z, middle.exp()) >= target
        below, above = torch.where(reached, below, middle), torch.where(reached, middle, above)
    return ((below + above) / 2).exp().clamp(low, high)


def _entropy(z: Tensor, temperature: Tensor) -> Tensor:
    """(B,) nats of softmax(z / T); a class at -inf adds nothing."""
    log_p = torch.log_softmax(z / temperature.unsqueeze(1), dim=1)
    return torch.special.entr(log_p.exp()).sum(dim=1)
