"""What a language model is trained for: the text, a teacher's distribution, its hidden layers; and in which order. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.curricula import CurriculumConfig
from stillhouse.signals import DynamicsConfig, HiddenConfig
from stillhouse.temperature import FixedTemperature, TemperatureConfig
from stillhouse.training.config import TrainingConfig

Ramp = tuple[float, float]
# settings of the shared loop that do nothing for language models, with their reason
NOT_HERE = {
    "label_weight": "lesson.label_weight weighs the text",
    "label_smoothing": "a teacher's distribution does what it is for",
    "teacher_view": "texts are not augmented, so there is one view",
    "ema_decay": "an average over a network on its way from dense to quantized is neither",
    "optimizer": "only adamw honors the groups of a recurrent network (decays and thresholds without weight decay)",
    "momentum": "it belongs to sgd and dot",
    "delta": "it belongs to dot",
}


@configclass
class LanguageLessonConfig:
    """Loss terms and stages: mixer alignment, distillation, a ramp from dense to quantized, and what is left to polish.

    Stages are shares of the run. Weights and activations are quantized one after the other, as each ramp says; a network
    without either ignores its ramp.

    Source: stages: Goldstein et al. 2025, arXiv:2505.03005 (RADLADS); the ramp: Ma et al. 2024, arXiv:2402.17764.
    """

    window: int = Field(default=128, gt=1, description="tokens of a training row")
    epoch_steps: int = Field(
        default=50, gt=0, description="optimizer steps between two validations; an epoch of the loop"
    )
    label_weight: float = Field(default=0.5, ge=0, description="weight of the cross-entropy with the text")
    kd_weight: float = Field(default=1.0, ge=0, description="weight of the divergence from the teacher's distribution")
    divergence: Literal["forward-kl", "reverse-kl", "js"] = Field(
        default="forward-kl", description="with a live teacher; a cache has the tokens for forward-kl only"
    )
    temperature: TemperatureConfig = Field(
        default=FixedTemperature(value=1.0), description="of that divergence; learned is CTKD, and needs a live teacher"
    )
    source: Literal["live", "cache"] = Field(
        default="cache", description="cache: the k largest logits, asked once; live: all logits, asked at every step"
    )
    k: int = Field(default=32, gt=0, description="of the cache: logits kept of each token")
    tail: bool = Field(
        default=True, description="of the cache: all other tokens as one bucket; false: they are forgotten"
    )
    embedding: Literal["random", "teacher"] = Field(
        default="random",
        description="teacher: the student's embedding begins as the principal components of the teacher's; a part of kd",
    )
    align: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the run in which mixers learn the teacher's attention, and nothing else",
    )
    signals: tuple[HiddenConfig | DynamicsConfig, ...] = Field(
        default=(), description="hidden layers (hidden) or their change with depth (dynamics, FDD) of a live teacher"
    )
    curriculum: CurriculumConfig | None = Field(
        default=None, description="rows that the teacher finds easy first (POCL); none: all rows, shuffled"
    )
    weights_ramp: Ramp = Field(default=(0.1, 0.4), description="shares of the run between which weights become ternary")
    spikes_ramp: Ramp = Field(
        default=(0.2, 0.5), description="shares of the run between which activations become spikes"
    )
    validation_tokens: int = Field(
        default=16_384, gt=0, description="tokens of the valid split that are scored each time"
    )

    def __post_init__(self) -> None:
        for name in ("weights_ramp", "spikes_ramp"):
            start, end = getattr(self, name)
            if not 0 <= start <= end < 1:
                raise ValueError(
                    f"{name}: expected a start and a later end from 0 to below 1, got {start:g} and {end:g}"
                )
        if self.label_weight + self.kd_weight == 0:
            raise ValueError("label_weight, kd_weight: expected one above 0, got 0 and 0")
        cached = self.source == "cache"
        if cached and self.divergence != "forward-kl":
            raise ValueError(f"divergence: {self.divergence} needs all logits; expected source: live, got cache")
        if cached and not isinstance(self.temperature, FixedTemperature):
            raise ValueError(
                f"temperature: {self.temperature.kind} moves, and a cache knows the mass of its tail at fixed ones only; expected"
                " source: live, got cache"
            )
        if cached and (self.signals or self.align):
            raise ValueError("signals, align: ask for hidden layers; expected source: live, got cache")
        if self.temperature.kind == "entropy" or getattr(self.temperature, "per_sample", False):
            raise ValueError(
                "temperature: one a token is not offered for vocabularies; take fixed, scheduled or learned"
            )
        if self.temperature.kind == "learned" and self.divergence != "forward-kl":
            raise ValueError(f"temperature: learned goes with forward-kl, got {self.divergence}")
        if any(isinstance(s, DynamicsConfig) and s.space == "logits" for s in self.signals):
            raise ValueError(
                "signals: dynamics in space logits would hold (layers x tokens x vocabulary); take projector"
            )
        if self.curriculum is not None and (self.curriculum.by_class or "rouge-l" in self.curriculum.measures):
            raise ValueError(
                "curriculum: windows have no classes and no references; take by_class: false, measures: [loss]"
            )

    @property
    def temperatures(self) -> tuple[float, ...]:
        """For which a cache must know the mass of its tail."""
        return (self.temperature.value,) if isinstance(self.temperature, FixedTemperature) else (1.0,)

    def shares(self, fraction: float) -> tuple[float, float]:
        """How far weights and activations are quantized at a share of the run.

        Example:
            >>> LanguageLessonConfig(weights_ramp=(0.0, 0.5), spikes_ramp=(0.5, 0.5)).shares(0.25)
            (0.5, 0.0)
        """
        return _grown(self.weights_ramp, fraction), _grown(self.spikes_ramp, fraction)


def _grown(ramp: Ramp, fraction: float) -> float:
    start, end = ramp
    if start == end:
        return float(fraction >= start)
    return min(1.0, max(0.0, (fraction - start) / (end - start)))


def default_training() -> TrainingConfig:
    """The loop's knobs for language models."""
    return TrainingConfig(
        epochs=8,
        batch_size=16,
        learning_rate=3e-3,
        final_learning_rate=3e-4,
        weight_decay=0.1,
        warmup_epochs=0.5,
        keep="last",
        precision="32-true",
        evaluation_batch_size=16,
        log_every=10,
    )


def complete(training: TrainingConfig) -> TrainingConfig:
    """The same with a precision that recurrences stand.

    Raises:
        ValueError: a setting that would do nothing here.
    """
    plain = TrainingConfig()
    for name, why in NOT_HERE.items():
        if getattr(training, name) != getattr(plain, name):
            raise ValueError(f"training.{name}: does nothing for language models: {why}; leave it out")
    return replace(training, precision="32-true" if training.precision == "auto" else training.precision)
