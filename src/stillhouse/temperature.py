"""How soft the targets are, now and for this sample: fixed, on a schedule, or learned against the student. B batch, K classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from stillhouse.core.config import configclass
from stillhouse.core.schedules import Cosine, ScheduleConfig, reach
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.layers.part import TrainedPart
from stillhouse.losses.softened import wide

# beyond it the loss is half of centered-mse to a hundredth, and what is left of float32 fewer than four digits
HOTTEST = 1000.0
HIDDEN = 128  # width of the network of `per_sample`
FLOOR = -50.0  # nats: a class that is ruled out (-inf) must not turn the network's input into a NaN


class Temperature(TrainedPart, ABC):
    """What every `TemperatureConfig.build(student, teacher)` gives.

    `figures` has `temperature` (its mean), and `lambda` where there is an adversary; `groups` holds what is learned, with its
    own learning rate and no weight decay. `reads_scores`: whether it needs all class scores.
    """

    reads_scores: bool = False

    @abstractmethod
    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> float | Tensor:
        """A positive number, a tensor () with a gradient, or (B,) one a sample, for logits (B, K)."""


@configclass
class FixedTemperature:
    """One number for the whole run.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """

    kind: Literal["fixed"] = "fixed"
    value: float = Field(
        default=2.0, gt=0, le=HOTTEST, description="softens both sides; the loss is multiplied by its square"
    )

    def build(self, student: OutputSpec, teacher: OutputSpec) -> GivenTemperature:
        """The number as a temperature; a constant is not recorded."""
        return GivenTemperature(lambda progress: self.value, recorded=False)


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


class GivenTemperature(Temperature):
    """The number that a schedule gives now, whatever the logits are.

    Example:
        >>> from stillhouse.core.schedules import Linear
        >>> rising = GivenTemperature(Linear(start=1.0, end=4.0))
        >>> rising(None, None, Progress(step=50, total_steps=100)), rising.figures()
        (2.5, {'temperature': 2.5})
    """

    def __init__(self, schedule: Callable[[Progress], float], *, recorded: bool = True) -> None:
        super().__init__()
        self.schedule, self.recorded = schedule, recorded
        self._last: float | None = None

    def forward(self, student_logits: Tensor | None, teacher_logits: Tensor | None, progress: Progress) -> float:
        """The temperature now."""
        self._last = self.schedule(progress)
        return self._last

    def figures(self) -> dict[str, float]:
        """The temperature of the last call."""
        return {} if self._last is None or not self.recorded else {"temperature": self._last}


# the released code reaches full strength after 10 of 240 epochs on CIFAR-100 (5 of 120 on ImageNet)
CTKD_RAMP = 1 / 24


@configclass
class LearnedTemperature:
    """A temperature that is trained against the student: where the student lowers T^2 KL, the temperature raises it (CTKD).

    T = low + (high - low) sigmoid(raw), with raw set so that T begins at `initial`. The gradient that reaches raw is
    multiplied by -strength; strength 0 freezes the temperature (it does not set it free). The released code starts at 15.6;
    here it is `initial`.

    `reversal: false` is the control: the same module and ramp, multiplied by +strength, so that the temperature helps the
    student to a small loss. With the factor T^2 it is bistable and runs to one of its bounds; without that factor it runs to
    the upper one, where the targets are uniform ("runaway"). The reversal often drifts upwards too, but there T^2
    keeps the student's gradients alive. The anchor stands against the slope of the loss in nats: on the 100 classes of
    benchmarks/temperature_traces.py (from T = 2) a weight of 0.1 is hardly felt in its log form (T ends at 13.0, without anchor
    at 13.3), which 10 holds; in the documented linear form 0.1 holds it (5.3). With the factor T^2 students are as good either
    way; without it the anchor is what stops the runaway, and at 0.1 the linear one alone does (T = 4.0 from 4; log 8.6).

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
    anchor_weight: float = Field(default=0.1, ge=0, description="weight of the anchor; 0 turns it off")
    anchor_scale: Literal["log", "linear"] = Field(
        default="log",
        description="log: (log T - log anchor)^2, hardly felt at weight 0.1; linear: (T - anchor)^2, the documented form, which"
        " holds T at that weight",
    )
    learning_rate: float = Field(
        default=0.01, gt=0, description="learning rate of the temperature; its weights never decay"
    )

    def __post_init__(self) -> None:
        if not self.low < self.initial < self.high:
            raise ValueError(
                f"initial: expected a temperature strictly between low ({self.low}) and high ({self.high}), got {self.initial}"
            )
        if self.anchor is not None and not self.low <= self.anchor <= self.high:
            raise ValueError(
                f"anchor: expected a temperature from low ({self.low}) to high ({self.high}), got {self.anchor}"
            )
        lowest, highest = reach(self.strength)
        if lowest < 0 or highest > 1:
            raise ValueError(
                f"strength: expected values from 0 to 1 (the sign is `reversal`), got {lowest} to {highest}"
            )
        if highest == 0:
            raise ValueError("strength: is 0 throughout, which freezes the temperature; take kind 'fixed'")

    def build(self, student: OutputSpec, teacher: OutputSpec) -> AdversarialTemperature:
        """The module that holds the learned numbers."""
        return AdversarialTemperature(self, student.num_classes + teacher.num_classes)


class AdversarialTemperature(Temperature):
    """One learned temperature for all samples, or one a sample, from a network of two layers that reads the scores of both sides.

    The network reads log-probabilities (the logits less a constant of the row, so that no such constant matters) and gives no
    gradient to the student. Its last layer starts with weight 0: every sample begins at `initial`.

    Example:
        T = 1 + 20 sigmoid(raw) is 2 at raw = ln(1/19) = -2.944.

        >>> temperature = AdversarialTemperature(LearnedTemperature(initial=2.0), scores=10)
        >>> round(temperature.weight.item(), 3)
        -2.944
        >>> round(temperature(torch.zeros(3, 5), torch.zeros(3, 5), Progress(0, 1)).item(), 4)
        2.0

    Source: Li et al. 2023, arXiv:2211.16231 (CTKD), global and instance-wise temperature.
    """

    def __init__(self, config: LearnedTemperature, scores: int) -> None:
        super().__init__()
        self.config, self.reads_scores = config, config.per_sample
        self.anchor = config.initial if config.anchor is None else config.anchor
        self._last: Tensor | None = None
        self._strength = 0.0
        share = (config.initial - config.low) / (config.high - config.low)
        raw = math.log(share) - math.log1p(-share)
        if config.per_sample:
            last = nn.Linear(HIDDEN, 1)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, raw)
            self.network = nn.Sequential(nn.Linear(scores, HIDDEN), nn.ReLU(), last)
        else:
            self.weight = nn.Parameter(torch.tensor(raw))

    def _raw(self, *logits: Tensor) -> Tensor:
        """What the sigmoid bounds: () or (B,)."""
        if not self.config.per_sample:
            return self.weight
        dtype = next(self.network.parameters()).dtype
        raw: Tensor = self.network(torch.cat([_log_probabilities(x).to(dtype) for x in logits], dim=1)).squeeze(1)
        return raw

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, progress: Progress) -> Tensor:
        """The temperature, () or (B,), in float32 at least; its gradient into the weights is reversed.

        Args:
            student_logits: (B, K); gets no gradient from here.
            teacher_logits: (B, K).
            progress: decides the strength.
        """
        config = self.config
        self._strength = config.strength(progress)
        # bf16 has steps of 0.06 near T = 10: a learning rate of 0.01 would move nothing
        with torch.autocast(device_type=student_logits.device.type, enabled=False):
            raw = wide(self._raw(student_logits.detach(), teacher_logits.detach()))
            bounded = config.low + (config.high - config.low) * torch.sigmoid(raw)
        self._last = bounded
        return scale_gradient(bounded, -self._strength if config.reversal else self._strength)

    def figures(self) -> dict[str, float]:
        """Mean temperature and the adversary's strength of the last forward; the spread where each sample has its own."""
        if self._last is None:
            return {}
        now = self._last.detach()
        figures = {"temperature": now.mean().item(), "lambda": self._strength}
        if now.ndim:
            figures["temperature-spread"] = now.std(correction=0).item()
        return figures

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """The squared distance from the anchor of the last forward, taken before the reversal: after it the anchor would repel."""
        if self._last is None or self.config.anchor_weight == 0:
            return {}
        if self.config.anchor_scale == "linear":
            distance = self._last - self.anchor
        else:
            distance = self._last.log() - math.log(self.anchor)
        return {"temperature-anchor": (self.config.anchor_weight, distance.square().mean())}

    def groups(self) -> list[dict[str, Any]]:
        """Its own learning rate, no weight decay (decay would pull raw to 0, the middle of the bounds)."""
        return [{"params": list(self.parameters()), "lr": self.config.learning_rate, "weight_decay": 0.0}]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the last forward's graph behind: torch refuses to copy one."""
        return {**super().__getstate__(), "_last": None}


def _log_probabilities(logits: Tensor) -> Tensor:
    """(B, K), finite: a NaN is the loss's to show, where the training loop looks for it."""
    return torch.log_softmax(wide(logits), dim=1).nan_to_num(nan=FLOOR).clamp(min=FLOOR)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself; its gradient is multiplied by a factor: below 0, minimizing the loss moves x to raise it.

    One convention: a strength is in [0, 1], and the minus of the adversary is put before it here. (The released CTKD multiplies
    by a number that its schedule runs from 0 to -1; both minus signs together would be plain minimization.)

    Args:
        x: any shape.
        factor: 0 gives a gradient of exactly 0, which freezes x.

    Returns:
        A tensor equal to x.

    Example:
        d(x^2)/dx at 3 is 6; the half of it, turned round, is -3.

        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> (scale_gradient(x, -0.5) ** 2).backward()
        >>> x.grad.item()
        -3.0

    Source: Ganin, Lempitsky 2015, arXiv:1409.7495.
    """
    result: Tensor = _Scale.apply(x, factor)
    return result


class _Scale(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.clone()  # torch.compile rebuilds a view behind a graph break from its base, without this backward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        _, ctx.factor = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # not grad * 0: an infinite gradient would become NaN where it was asked to vanish
        return (grads[0] * ctx.factor if ctx.factor else torch.zeros_like(grads[0])), None


TemperatureConfig = Annotated[FixedTemperature | ScheduledTemperature | LearnedTemperature, Field(discriminator="kind")]


def _of_number(given: Any) -> Any:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return FixedTemperature(value=given) if is_number else given


if TYPE_CHECKING:
    Softness = FixedTemperature | ScheduledTemperature | LearnedTemperature
else:
    Softness = Annotated[TemperatureConfig, BeforeValidator(_of_number)]
