"""Where the temperature of a distillation loss comes from. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.schedules import Constant, Cosine, ScheduleConfig, reach
from stillhouse.core.types import OutputSpec

if TYPE_CHECKING:
    from stillhouse.temperature.entropy import EntropyMatching
    from stillhouse.temperature.given import GivenTemperature
    from stillhouse.temperature.learned import LearnedPerSample, LearnedScalar

# the released code reaches full strength after 10 of 240 epochs on CIFAR-100 (5 of 120 on ImageNet)
CTKD_RAMP = 1 / 24


@configclass
class FixedTemperature:
    """One number for the whole run.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["fixed"] = "fixed"
    value: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by its square")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> GivenTemperature:
        """The number as a temperature."""
        from stillhouse.temperature.given import GivenTemperature

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
        from stillhouse.temperature.given import GivenTemperature

        return GivenTemperature(self.schedule)


@configclass
class LearnedTemperature:
    """A temperature that is trained against the student: where the student lowers T^2 KL, the temperature raises it (CTKD).

    T = low + (high - low) sigmoid(raw), with raw set so that T begins at `initial`. The gradient that reaches raw is
    multiplied by -strength; strength 0 freezes the temperature (it does not set it free). The released code starts at 15.6;
    here `initial` says where.

    `reversal: false` is the control: the same module and ramp, multiplied by +strength, so that the temperature helps the
    student to a small loss. With the factor T^2 it is bistable and runs to one of its bounds; without that factor it runs to
    the upper one, where the targets say nothing ("runaway"). The reversal often drifts upwards too, but there T^2
    keeps the student's gradients alive. The anchor stands against the slope of the loss in nats: on the 100 classes of
    benchmarks/temperature_traces.py a weight of 0.1 is hardly felt at full strength, and 10 holds the temperature.

    Source: Li et al. 2023, arXiv:2211.16231 (CTKD).
    """

    kind: Literal["learned"] = "learned"
    per_sample: bool = Field(
        default=False, description="a temperature for each sample, by a small network that reads both sides' logits"
    )
    initial: float = Field(default=2.0, gt=0, description="temperature at the start, strictly between low and high")
    low: float = Field(default=1.0, gt=0, description="lower bound")
    high: float = Field(default=21.0, gt=0, description="upper bound")
    strength: ScheduleConfig = Field(
        default=Cosine(start=0.0, end=1.0, until=CTKD_RAMP),
        description="factor of the adversary's gradient in [0, 1]; as published: a cosine over the first 1/24 of the run",
    )
    reversal: bool = Field(default=True, description="train against the student; false is the control that helps it")
    anchor: float | None = Field(default=None, gt=0, description="temperature that the anchor pulls to [initial]")
    anchor_weight: float = Field(default=0.1, ge=0, description="weight of (log T - log anchor)^2; 0 turns it off")
    learning_rate: float = Field(
        default=0.01, gt=0, description="learning rate of the temperature; its weights never decay"
    )
    hidden: int = Field(default=128, gt=0, description="width of the network of per_sample")

    def __post_init__(self) -> None:
        if not self.low < self.initial < self.high:
            raise ValueError(
                f"initial: expected a temperature strictly between low ({self.low}) and high ({self.high}), got {self.initial}"
            )
        if self.anchor is not None and not self.low <= self.anchor <= self.high:
            raise ValueError(
                f"anchor: expected a temperature from low ({self.low}) to high ({self.high}), got {self.anchor}"
            )
        if self.anchor is not None and self.anchor_weight == 0:
            raise ValueError("anchor: does nothing with anchor_weight 0; leave it out")
        lowest, highest = reach(self.strength)
        if lowest < 0 or highest > 1:
            raise ValueError(
                f"strength: expected values from 0 to 1 (the sign is `reversal`), got {lowest} to {highest}"
            )
        if highest == 0:
            raise ValueError("strength: is 0 throughout, which freezes the temperature; take kind 'fixed'")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LearnedScalar | LearnedPerSample:
        """The module that holds the learned numbers."""
        from stillhouse.temperature.learned import LearnedPerSample, LearnedScalar

        if self.per_sample:
            return LearnedPerSample(self, student.num_classes, teacher.num_classes)
        return LearnedScalar(self)


@configclass
class EntropyTemperature:
    """For each sample the temperature at which the teacher's softened scores have a chosen entropy.

    Every soft target then says equally much beside its first choice: a sure teacher is softened more than an unsure one.
    Solved by bisection, as the neighborhoods of SNE are for a perplexity; nothing is learned and no gradient flows.

    Source: the bisection for a set perplexity: van der Maaten, Hinton 2008 (JMLR 9), section 2; uneven entropy of soft labels
    under one temperature, and temperatures per sample against it: Luong et al. 2026, arXiv:2605.20357.
    """

    kind: Literal["entropy"] = "entropy"
    share: float = Field(default=0.5, gt=0, lt=1, description="target entropy as a share of ln K, its largest value")
    low: float = Field(
        default=1.0, gt=0, description="lower bound of the temperature, also where the target needs less"
    )
    high: float = Field(
        default=20.0, gt=0, description="upper bound of the temperature, also where the target needs more"
    )

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low ({self.low}), got {self.high}")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> EntropyMatching:
        """The solver.

        Raises:
            InputError: a single class, whose entropy is always 0.
        """
        from stillhouse.temperature.entropy import EntropyMatching

        if teacher.num_classes < 2:
            raise InputError(
                f"temperature 'entropy': expected at least 2 classes of the teacher, got {teacher.num_classes}"
            )
        return EntropyMatching(self)
