"""When a curriculum goes on to its next stage: by time, by a plateau, by validation. No torch.

Plateau and validation read a number that is measured on fixed data at temperature 1 (the whole validation split): the training
loss moves by itself when the data, the temperature or the weights of a stage change. Both have a latest time, because a
criterion that never fires would leave the hard samples out of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass

Metrics = Mapping[str, float | None]
LATEST = "share of the run at which the last stage has begun whatever is measured; earlier stages by equal parts of it"


@configclass
class ByTime:
    """Stages end at set shares of the run."""

    kind: Literal["time"] = "time"
    ends: tuple[float, ...] = Field(
        default=(), description="share of the run at which each stage ends, as 0.4,0.7,1 [equal]"
    )

    def __post_init__(self) -> None:
        if self.ends and (self.ends[-1] != 1.0 or self.ends[0] <= 0 or any(b <= a for a, b in pairwise(self.ends))):
            raise ValueError(f"ends: expected shares above 0 that rise to 1.0, got {self.ends}")

    def build(self, stages: int) -> TimeReached:
        """The criterion for so many stages."""
        return TimeReached(self, stages)


@configclass
class ByPlateau:
    """A stage ends when the smoothed metric has stopped to improve over a window.

    Relative improvement (E(t - window) - E(t)) / |E(t - window)| below `least` at `patience` validations in a row, E being an
    exponential mean. (dL/dt < eps, as often written, is true at the first step: a loss that is learned falls.)
    """

    kind: Literal["plateau"] = "plateau"
    metric: str = Field(
        default="nll", min_length=1, description="loss on fixed data at temperature 1; smaller is better"
    )
    least: float = Field(default=0.01, gt=0, description="relative improvement over the window that is still progress")
    window: int = Field(default=3, gt=0, description="validations that the improvement is measured over")
    patience: int = Field(default=2, gt=0, description="validations in a row without progress that end a stage")
    decay: float = Field(default=0.5, ge=0, lt=1, description="share of the old value in the exponential mean")
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def build(self, stages: int) -> PlateauReached:
        """The criterion for so many stages."""
        return PlateauReached(self, stages)


@configclass
class ByValidation:
    """A stage ends when its best validation metric has not been beaten for a while; each stage has a best of its own."""

    kind: Literal["validation"] = "validation"
    metric: str = Field(default="accuracy", min_length=1, description="metric of the whole validation split")
    better: Literal["higher", "lower"] = Field(default="higher", description="which end of the metric is the good one")
    patience: int = Field(default=3, gt=0, description="validations without a new best that end a stage")
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def build(self, stages: int) -> ValidationStopped:
        """The criterion for so many stages."""
        return ValidationStopped(self, stages)


TransitionConfig = Annotated[ByTime | ByPlateau | ByValidation, Field(discriminator="kind")]


class Transition:
    """What `ByTime().build(stages)` and the others give: whether a stage is over, and what it remembers of it."""

    def __init__(self, config: Any, stages: int) -> None:
        self.config, self.stages = config, stages
        self.begin()

    def begin(self) -> None:
        """Forget what was measured in the stage before."""
        self.seen: list[float] = []
        self.waited = 0

    def ends(self, metrics: Metrics, *, stage: int, fraction: float) -> bool:
        """Take in one validation; whether stage `stage` is over, with `fraction` of the run done.

        Raises:
            InputError: the metric is missing, None or not finite.
        """
        value = metrics.get(self.config.metric)
        if value is None:
            known = [key for key, entry in metrics.items() if entry is not None]
            raise InputError(
                f"transition.metric {self.config.metric!r}: the validation has none; {nearest(self.config.metric, known)}"
            )
        if not math.isfinite(value):
            raise InputError(f"transition.metric {self.config.metric!r}: expected a finite number, got {value}")
        self.waited = 0 if self.improves(float(value)) else self.waited + 1
        late = self.stages > 1 and fraction >= self.config.latest * (stage + 1) / (self.stages - 1) - 1e-9
        return late or self.waited >= self.config.patience

    def improves(self, now: float) -> bool:
        """Take in a value; whether it is progress."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What was measured in this stage, as plain numbers."""
        return {"seen": list(self.seen), "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.seen, self.waited = [float(x) for x in state["seen"]], int(state["waited"])


class TimeReached(Transition):
    """Ends stage s at the s-th share; without a memory.

    Example:
        >>> by_time = ByTime(ends=(0.4, 0.7, 1.0)).build(3)
        >>> [by_time.ends({}, stage=0, fraction=f) for f in (0.0, 0.39, 0.4)]
        [False, False, True]
    """

    def ends(self, metrics: Metrics, *, stage: int, fraction: float) -> bool:
        """Whether the share is reached."""
        share = self.config.ends[stage] if self.config.ends else (stage + 1) / self.stages
        return bool(fraction >= share - 1e-9)  # 3 * 0.1 of a run is 0.30000000000000004 of it


class PlateauReached(Transition):
    """See `ByPlateau`; it remembers the last window + 1 means.

    Example:
        A loss that stands still: the window of 1 fills at the second validation, the second without progress is the third.

        >>> plateau = ByPlateau(window=1, patience=2).build(2)
        >>> [plateau.ends({"nll": 1.0}, stage=0, fraction=0.1) for _ in range(3)]
        [False, False, True]
    """

    def improves(self, now: float) -> bool:
        """By the smoothed value over the window; before it is full all is progress."""
        config = self.config
        mean = config.decay * self.seen[-1] + (1 - config.decay) * now if self.seen else now
        self.seen = [*self.seen, mean][-(config.window + 1) :]
        before = self.seen[0]
        return len(self.seen) <= config.window or (before - mean) / max(abs(before), 1e-12) >= config.least


class ValidationStopped(Transition):
    """See `ByValidation`; it remembers the best, which of an easier stage might never be beaten.

    Example:
        >>> validation = ByValidation(patience=2).build(2)
        >>> [validation.ends({"accuracy": a}, stage=0, fraction=0.1) for a in (0.5, 0.6, 0.6, 0.55)]
        [False, False, False, True]
    """

    def improves(self, now: float) -> bool:
        """By a new best of this stage."""
        now = now if self.config.better == "higher" else -now
        if self.seen and now <= self.seen[0]:
            return False
        self.seen = [now]
        return True
