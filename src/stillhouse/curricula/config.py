"""Which samples, which weights, in which stage. No torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.curricula.baby_steps import Order, check_shares
from stillhouse.curricula.difficulty import Measure
from stillhouse.curricula.transitions import ByTime, TransitionConfig


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
