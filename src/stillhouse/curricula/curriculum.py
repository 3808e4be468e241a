"""A curriculum: which samples, which weights, in which stage; at work, the rows of an epoch and all that a resume needs.

A plateau and a validation are seen in a number that is measured on fixed data at temperature 1 (the whole validation split): the
training loss moves by itself when the data, the temperature or the weights of a stage change. Both have a latest time, because a
criterion that never fires would leave the hard samples out of the whole run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import configclass
from stillhouse.curricula.baby_steps import (
    Order,
    balanced_over_classes,
    check_shares,
    draw,
    nested_subsets,
    rows_in_order,
)
from stillhouse.curricula.difficulty import Measure

if TYPE_CHECKING:
    from torch import Tensor

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

    def over(self, stage: int, stages: int, fraction: float) -> bool:
        """Whether the share is reached.

        Example:
            >>> [ByTime(ends=(0.4, 0.7, 1.0)).over(0, 3, fraction=f) for f in (0.0, 0.39, 0.4)]
            [False, False, True]
        """
        share = self.ends[stage] if self.ends else (stage + 1) / stages
        return fraction >= share - 1e-9  # 3 * 0.1 of a run is 0.30000000000000004 of it


@configclass
class ByPlateau:
    """A stage ends when the smoothed metric has stopped to improve over a window.

    Relative improvement (E(t - window) - E(t)) / |E(t - window)| below `least` at `patience` validations in a row, E being an
    exponential mean. (dL/dt < eps, as often written, is true at the first step: a loss that is learned falls.)
    """

    kind: Literal["plateau"] = "plateau"
    metric: str = Field(default="nll", min_length=1, description="loss on fixed data at temperature 1; less is better")
    least: float = Field(default=0.01, gt=0, description="relative improvement over the window that is still progress")
    window: int = Field(default=3, gt=0, description="validations that the improvement is measured over")
    patience: int = Field(default=2, gt=0, description="validations in a row without progress that end a stage")
    decay: float = Field(default=0.5, ge=0, lt=1, description="share of the old value in the exponential mean")
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def idle(self, seen: Sequence[float]) -> bool:
        """Whether the values of the stage so far, oldest first, have stood still for long enough.

        Example:
            The window of 1 fills at the second validation, the second without progress is the third.

            >>> [ByPlateau(window=1, patience=2).idle([1.0] * n) for n in (1, 2, 3)]
            [False, False, True]
        """
        means = list(accumulate(seen, lambda old, now: self.decay * old + (1 - self.decay) * now))
        still = [(old - now) / max(abs(old), 1e-12) < self.least for old, now in zip(means, means[self.window :])]
        return len(still) >= self.patience and all(still[-self.patience :])


@configclass
class ByValidation:
    """A stage ends when its best validation metric has not been beaten for a while; each stage has a best of its own."""

    kind: Literal["validation"] = "validation"
    metric: str = Field(default="accuracy", min_length=1, description="metric of the whole validation split")
    better: Literal["higher", "lower"] = Field(default="higher", description="which end of the metric is the good one")
    patience: int = Field(default=3, gt=0, description="validations without a new best that end a stage")
    latest: float = Field(default=0.8, gt=0, le=1, description=LATEST)

    def idle(self, seen: Sequence[float]) -> bool:
        """Whether the best of the stage so far is old enough.

        Example:
            >>> [ByValidation(patience=2).idle([0.5, 0.6, 0.6, 0.55][:n]) for n in (2, 3, 4)]
            [False, False, True]
        """
        best = np.argmax(seen) if self.better == "higher" else np.argmin(seen)
        return len(seen) - 1 - int(best) >= self.patience


TransitionConfig = Annotated[ByTime | ByPlateau | ByValidation, Field(discriminator="kind")]


@configclass
class CurriculumConfig:
    """Stages that add harder samples to easier ones, and change what is learned from them.

    Every epoch has exactly as many rows as the data set, whatever the stage: a small subset is repeated, and a budget in
    steps is the same for every order. `budget: rows` is the other budget, that of the papers: a stage passes over its own rows as
    often as the last one does, so a run, every arm of it, takes the mean of `shares` of the epochs. `order` has three controls:
    "hard-first" (the reverse), "random" (subsets of the same sizes), and "none" (all rows in every stage, weights and temperatures
    of the stages).

    The stages as POCL released them: four, with weights (1 - r) for labels and r for the signals, r rising .7 to 1,
    `label_weights: [0.3, 0.2, 0.1, 0]`, `signal_weights: [0.7, 0.8, 0.9, 1]`, and a temperature 1 to 2 by a linear schedule over
    stages. (Its table of "alpha 0.9 to 0.5" is the opposite; this follows the code.) A new optimizer for each stage, as there,
    is not done here.

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL); Bengio et al. 2009 (ICML).
    """

    order: Order = Field(default="easy-first", description="which samples come first")
    measures: tuple[Measure, ...] = Field(
        default=("loss", "margin"), min_length=1, description="what makes a sample hard; their ranks are fused"
    )
    fusion_k: float = Field(default=60.0, gt=0, description="constant of the reciprocal rank fusion")
    shares: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75, 1.0), description="share of the samples in each stage, rising to 1"
    )
    by_class: bool = Field(default=True, description="take the shares inside each class, so that none is left out")
    replay: float = Field(
        default=0.05, ge=0, lt=1, description="share of each epoch kept for samples that the stage leaves out; 0: none"
    )
    transition: TransitionConfig = Field(default=ByTime(), description="when the next stage begins")
    budget: Literal["steps", "rows"] = Field(
        default="steps",
        description="steps: as many as without a curriculum; rows: fewer, as each stage passes over its rows equally often",
    )
    label_weights: tuple[float, ...] = Field(default=(), description="factor of the label weight in each stage [all 1]")
    signal_weights: tuple[float, ...] = Field(default=(), description="factor of all signals in each stage [all 1]")

    def __post_init__(self) -> None:
        check_shares(self.shares)
        if len(set(self.measures)) != len(self.measures):
            raise ValueError(f"measures: expected each once, got {self.measures}")
        stages = len(self.shares)
        if isinstance(self.transition, ByTime) and self.transition.ends and len(self.transition.ends) != stages:
            raise ValueError(f"transition.ends: expected one for each of {stages} shares, got {self.transition.ends}")
        if self.budget == "rows" and (self.transition.kind != "time" or self.transition.ends):
            raise ValueError("budget: rows decides when stages end; expected transition: {kind: time} without ends")
        for name in ("label_weights", "signal_weights"):
            weights = getattr(self, name)
            if weights and (len(weights) != stages or min(weights) < 0):
                raise ValueError(f"{name}: expected {stages} factors from 0, one for each of shares, got {weights}")
        for stage in range(stages):
            if math.isclose(self.label_weight(stage) + self.signal_weight(stage), 0.0):
                raise ValueError(
                    f"label_weights, signal_weights: expected something to learn in stage {stage}, got 0 and 0"
                )

    @property
    def length(self) -> float:
        """Epochs that a run takes, as a share of those without a curriculum.

        Example:
            >>> CurriculumConfig(budget="rows").length
            0.625
        """
        return sum(self.shares) / len(self.shares) if self.budget == "rows" else 1.0

    @property
    def when(self) -> TransitionConfig:
        """The transition, with the ends that the budget decides.

        Example:
            >>> CurriculumConfig(budget="rows").when.ends
            (0.1, 0.3, 0.6, 1.0)
        """
        if self.budget == "steps":
            return self.transition
        ends = [sum(self.shares[: n + 1]) / sum(self.shares) for n in range(len(self.shares) - 1)]
        return ByTime(ends=(*ends, 1.0))

    def label_weight(self, stage: int) -> float:
        """Factor of the label weight."""
        return self.label_weights[stage] if self.label_weights else 1.0

    def signal_weight(self, stage: int) -> float:
        """Factor of every signal's weight."""
        return self.signal_weights[stage] if self.signal_weights else 1.0


class Curriculum:
    """Goes through the stages of a `CurriculumConfig`; plain, no parameters.

    Args:
        config: what to do.
        difficulty: (N,) score of each sample, high is hard (`score_difficulty`, `fuse`).
        labels: (N,) class of each sample; None where there are no classes (then `by_class` must be off).
        seed: from 0; decides equal samples, the random order and the shuffles.

    Raises:
        InputError: scores that are not finite, no labels under `by_class`, or a first subset too small to
            hold every class.

    Example:
        Eight samples, the first the easiest; a quarter is two, seen four times each.

        >>> config = CurriculumConfig(by_class=False, replay=0.0)
        >>> curriculum = Curriculum(config, difficulty=range(8), labels=None, seed=0)
        >>> sorted(curriculum.order(epoch=0).tolist())
        [0, 0, 0, 0, 1, 1, 1, 1]
        >>> curriculum.on_validation_end({}, fraction=0.5)
        >>> curriculum.stage, curriculum.stages
        (2, 4)

    Source: Liu et al. 2025, arXiv:2506.05695 (POCL).
    """

    def __init__(self, config: CurriculumConfig, difficulty: ArrayLike, labels: ArrayLike | None, *, seed: int) -> None:
        self.config, self.seed = config, seed
        scores = np.asarray(difficulty, dtype=np.float64)
        if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
            raise InputError(
                f"difficulty: expected (N,) finite scores of at least one sample, got shape {scores.shape}"
            )
        rows = rows_in_order(scores, config.order, seed=seed)
        if config.by_class:
            if labels is None:
                raise InputError("labels: expected some for by_class; turn by_class off")
            rows = balanced_over_classes(rows, labels)
        self.rows = len(rows)
        self.subsets = nested_subsets(rows, config.shares)
        if config.order == "none":
            self.subsets = [rows] * len(config.shares)
        elif config.by_class and len(self.subsets[0]) < (classes := len(np.unique(np.asarray(labels)))):
            raise InputError(
                f"shares: expected a first subset that holds all {classes} classes, got {len(self.subsets[0])} rows"
            )
        self._others = [np.setdiff1d(rows, subset, assume_unique=True) for subset in self.subsets]
        self._order_hash = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
        self.stage = 0
        self.seen: list[float] = []  # the transition's metric at the validations of this stage
        self._given: tuple[int, int] | None = None  # the epoch handed out last, and its stage
        self.samples = 0  # handed out so far, with repetition; an epoch counts whole, when it is first asked for

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.config.shares)

    def order(self, epoch: int) -> Tensor:
        """Row numbers of one epoch, (N,) int64: always N of them.

        A function of seed, epoch and stage alone. An epoch that has begun keeps its rows when the stage changes inside it, so
        that a resume in the middle finds them again.
        """
        import torch

        if self._given is None or self._given[0] != epoch:
            self._given = (epoch, self.stage)
            self.samples += self.rows
        return torch.from_numpy(self._draw(*self._given))

    def on_validation_end(self, metrics: Mapping[str, float | None], fraction: float) -> None:
        """Take in one validation; may go on to the next stage (by time to several, where validations are rare).

        Args:
            metrics: of the validation split.
            fraction: share of the run done, in [0, 1].

        Raises:
            InputError: the transition's metric is missing, None or not finite.
        """
        rule, last = self.config.when, self.stages - 1
        if isinstance(rule, ByTime):
            while self.stage < last and rule.over(self.stage, self.stages, fraction):
                self.stage += 1
        elif self.stage < last:
            self.seen.append(_measured(metrics, rule.metric))
            late = fraction >= rule.latest * (self.stage + 1) / last - 1e-9
            if late or rule.idle(self.seen):
                self.stage, self.seen = self.stage + 1, []  # the best of an easier stage might never be beaten

    def weights(self) -> Mapping[str, float]:
        """Factors of the present stage: `labels` for the label weight, `signals` for the weight of every signal."""
        return {"labels": self.config.label_weight(self.stage), "signals": self.config.signal_weight(self.stage)}

    def figures(self) -> dict[str, float]:
        """To be logged: stage from 0, rows of its subset, samples seen, the factors."""
        weights = self.weights()
        return {
            "stage": float(self.stage),
            "subset-rows": float(len(self.subsets[self.stage])),
            "samples-seen": float(self.samples),
            "label-factor": weights["labels"],
            "signal-factor": weights["signals"],
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs, also in the middle of a stage or an epoch: plain values."""
        return {
            "order": self._order_hash,
            "seed": self.seed,
            "stage": self.stage,
            "given": None if self._given is None else list(self._given),
            "samples": self.samples,
            "seen": list(self.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            InputError: the state is of another order of the rows (other scores, labels, data or seed).
        """
        if (state["order"], state["seed"]) != (self._order_hash, self.seed):
            raise InputError(
                f"curriculum: expected the state of the same order of rows ({self._order_hash}, seed {self.seed}), "
                f"got ({state['order']}, seed {state['seed']}); were the difficulties measured anew?"
            )
        self.stage = int(state["stage"])
        self._given = None if state["given"] is None else (int(state["given"][0]), int(state["given"][1]))
        self.samples = int(state["samples"])
        self.seen = [float(x) for x in state["seen"]]

    def _draw(self, epoch: int, stage: int) -> np.ndarray:
        return draw(
            self.subsets[stage], self._others[stage], replay=self.config.replay, epoch=epoch, seed=(self.seed, stage)
        )


def _measured(metrics: Mapping[str, float | None], name: str) -> float:
    value = metrics.get(name)
    if value is None or not math.isfinite(value):
        known = [key for key, entry in metrics.items() if entry is not None]
        raise InputError(f"transition.metric {name!r}: expected a finite number, got {value}; {nearest(name, known)}")
    return value
