"""When a curriculum goes on to its next stage: by time, by a plateau, by validation. No torch.

Plateau and validation read a number that is measured on fixed data at temperature 1 (the whole validation split): the training
loss moves by itself when the data, the temperature or the weights of a stage change. Both have a latest time, because a
criterion that never fires would leave the hard samples out of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass

Metrics = Mapping[str, float | None]

MIN_STEPS = "optimizer steps that a stage lasts at least"
MAX_STEPS = "optimizer steps that a stage lasts at most; none: only `latest` ends it"
LATEST = "share of the run at which the last stage has begun whatever is measured; earlier stages by equal parts of it"


class Transition(Protocol):
    """What `ByTime().build(stages)` and the others give."""

    def ends(self, metrics: Metrics, *, stage: int, steps: int, fraction: float) -> bool:
        """Whether stage `stage` is over, `steps` optimizer steps after it began, with `fraction` of the run done."""
        ...

    def begin(self) -> None:
        """Forget what was measured in the stage before."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What was measured in this stage, as plain numbers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        ...


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
    min_steps: int = Field(default=0, ge=0, description=MIN_STEPS)
    max_steps: int | None = Field(default=None, gt=0, description=MAX_STEPS)
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def __post_init__(self) -> None:
        _check_steps(self.min_steps, self.max_steps)

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
    min_steps: int = Field(default=0, ge=0, description=MIN_STEPS)
    max_steps: int | None = Field(default=None, gt=0, description=MAX_STEPS)
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def __post_init__(self) -> None:
        _check_steps(self.min_steps, self.max_steps)

    def build(self, stages: int) -> ValidationStopped:
        """The criterion for so many stages."""
        return ValidationStopped(self, stages)


TransitionConfig = Annotated[ByTime | ByPlateau | ByValidation, Field(discriminator="kind")]


class TimeReached:
    """Ends stage s at the s-th share; without a memory.

    Example:
        >>> by_time = ByTime(ends=(0.4, 0.7, 1.0)).build(3)
        >>> [by_time.ends({}, stage=0, steps=0, fraction=f) for f in (0.0, 0.39, 0.4)]
        [False, False, True]
    """

    def __init__(self, config: ByTime, stages: int) -> None:
        if config.ends and len(config.ends) != stages:
            raise InputError(f"transition.ends: expected one share for each of {stages} stages, got {config.ends}")
        self.shares = config.ends or tuple((stage + 1) / stages for stage in range(stages))

    def ends(self, metrics: Metrics, *, stage: int, steps: int, fraction: float) -> bool:
        """Whether the share is reached."""
        return fraction >= self.shares[stage] - 1e-9  # 3 * 0.1 of a run is 0.30000000000000004 of it

    def begin(self) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class PlateauReached:
    """See `ByPlateau`.

    Example:
        A loss that stands still: the window of 1 fills at the second validation, the second without progress is the third.

        >>> plateau = ByPlateau(window=1, patience=2).build(2)
        >>> [plateau.ends({"nll": 1.0}, stage=0, steps=s, fraction=0.1) for s in (1, 2, 3)]
        [False, False, True]
    """

    def __init__(self, config: ByPlateau, stages: int) -> None:
        self.config, self.stages = config, stages
        self.begin()

    def begin(self) -> None:
        """Forget the means and the count."""
        self.means: list[float] = []  # the last window + 1
        self.waited = 0

    def ends(self, metrics: Metrics, *, stage: int, steps: int, fraction: float) -> bool:
        """Take in one validation."""
        config = self.config
        now = _metric(metrics, config.metric)
        mean = config.decay * self.means[-1] + (1 - config.decay) * now if self.means else now
        self.means = [*self.means, mean][-(config.window + 1) :]
        if len(self.means) > config.window:
            before = self.means[0]
            gain = (before - mean) / max(abs(before), 1e-12)
            self.waited = self.waited + 1 if gain < config.least else 0
        if _forced(config, self.stages, stage, steps, fraction):
            return True
        return self.waited >= config.patience and steps >= config.min_steps

    def state_dict(self) -> dict[str, Any]:
        """The means of the window and the count."""
        return {"means": list(self.means), "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.means, self.waited = [float(x) for x in state["means"]], int(state["waited"])


class ValidationStopped:
    """See `ByValidation`.

    Example:
        >>> validation = ByValidation(patience=2).build(2)
        >>> [validation.ends({"accuracy": a}, stage=0, steps=1, fraction=0.1) for a in (0.5, 0.6, 0.6, 0.55)]
        [False, False, False, True]
    """

    def __init__(self, config: ByValidation, stages: int) -> None:
        self.config, self.stages = config, stages
        self.begin()

    def begin(self) -> None:
        """Forget the best: that of an easier stage might never be beaten."""
        self.best: float | None = None
        self.waited = 0

    def ends(self, metrics: Metrics, *, stage: int, steps: int, fraction: float) -> bool:
        """Take in one validation."""
        config = self.config
        now = _metric(metrics, config.metric) * (1 if config.better == "higher" else -1)
        if self.best is None or now > self.best:
            self.best, self.waited = now, 0
        else:
            self.waited += 1
        if _forced(config, self.stages, stage, steps, fraction):
            return True
        return self.waited >= config.patience and steps >= config.min_steps

    def state_dict(self) -> dict[str, Any]:
        """The best of this stage (larger is better) and the count."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited = state["best"], int(state["waited"])


def _forced(config: ByPlateau | ByValidation, stages: int, stage: int, steps: int, fraction: float) -> bool:
    """Whether a stage has lasted as long as it may."""
    if config.max_steps is not None and steps >= config.max_steps:
        return True
    return stages > 1 and fraction >= config.latest * (stage + 1) / (stages - 1) - 1e-9


def _metric(metrics: Metrics, name: str) -> float:
    value = metrics.get(name)
    if value is None:
        known = [key for key, entry in metrics.items() if entry is not None]
        raise InputError(f"transition.metric {name!r}: the validation has none; {nearest(name, known)}")
    if not math.isfinite(value):
        raise InputError(f"transition.metric {name!r}: expected a finite number, got {value}")
    return float(value)


def _check_steps(least: int, most: int | None) -> None:
    if most is not None and most < least:
        raise ValueError(f"max_steps: expected at least min_steps ({least}), got {most}")
