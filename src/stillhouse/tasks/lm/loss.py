"""What a language model is trained for: the text, a teacher's distribution, its attention; and in which order. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.temperature import FixedTemperature, TemperatureConfig

Ramp = tuple[float, float]


@configclass
class OnPolicyConfig:
    """Some batches are texts that the student writes itself, and the live teacher scores every token of them.

    What a student meets when it writes is its own earlier tokens, mistakes and all; texts of others never show them. A step is
    of one kind: with probability `share` the windows keep their first `prompt` tokens, the student writes the rest at
    `temperature`, and the divergence of its distribution from the teacher's, at the tokens that it wrote, is all that is learned.
    No gradient goes through the drawing. `share: 1, divergence: reverse-kl` is MiniLLM's loss a token, without its policy
    gradient.

    Source: Agarwal et al. 2023, arXiv:2306.13649 (GKD); Gu et al. 2023, arXiv:2306.08543 (MiniLLM).
    """

    share: float = Field(default=0.5, gt=0, le=1, description="probability that a step is on the student's own texts")
    ramp: Ramp = Field(
        default=(0.0, 0.0),
        description="shares of the run between which that probability grows from 0: it has to write first",
    )
    prompt: int = Field(default=16, gt=0, description="tokens of the text that a window begins with")
    temperature: float = Field(default=1.0, gt=0, description="of the draws; the divergence is taken at 1")
    divergence: Literal["js", "reverse-kl", "forward-kl"] = Field(default="js", description="from the teacher")
    beta: float = Field(default=0.5, gt=0, lt=1, description="of js: weight of the teacher in the mixture")
    weight: float = Field(default=1.0, gt=0, description="of that divergence")

    def __post_init__(self) -> None:
        _check_ramp("ramp", self.ramp)
        if self.divergence != "js" and self.beta != 0.5:
            raise ValueError(f"beta: does nothing under divergence {self.divergence}; it is for js")

    def share_at(self, fraction: float) -> float:
        """Probability at a share of the run.

        Example:
            >>> OnPolicyConfig(share=0.5, ramp=(0.0, 0.8)).share_at(0.4)
            0.25
        """
        return self.share * _grown(self.ramp, fraction)


@configclass
class LanguageLossConfig:
    """Loss terms and stages: mixer alignment, distillation, a ramp from dense to quantized, and what is left to polish.

    Stages are shares of the run. Weights and activations are quantized one after the other, by its own ramp; a network
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
        default=FixedTemperature(value=1.0), description="of that divergence; learned is CTKD"
    )
    source: Literal["live", "cache"] = Field(
        default="cache", description="cache: the k largest logits, asked once; live: all logits, asked at every step"
    )
    k: int = Field(default=32, gt=0, description="of the cache: logits kept of each token")
    embedding: Literal["random", "teacher"] = Field(
        default="random",
        description="teacher: the student's embedding begins as the principal components of the teacher's; a part of kd",
    )
    on_policy: OnPolicyConfig | None = Field(
        default=None,
        description="a share of the batches is written by the student and scored by the live teacher; null: none",
    )
    align: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the run in which mixers learn the teacher's attention, and nothing else",
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
            _check_ramp(name, getattr(self, name))
        if self.on_policy is not None and self.on_policy.prompt >= self.window:
            raise ValueError(
                f"on_policy.prompt: expected less than the window of {self.window} tokens, got {self.on_policy.prompt}"
            )
        if self.label_weight + self.kd_weight == 0:
            raise ValueError("label_weight, kd_weight: expected one above 0, got 0 and 0")
        if self.source == "cache" and self.divergence != "forward-kl":
            raise ValueError(f"divergence: {self.divergence} needs all logits; expected source: live, got cache")
        if self.temperature.kind == "entropy" or getattr(self.temperature, "per_sample", False):
            raise ValueError(
                "temperature: one a token is not offered here, where logits are made in pieces; take fixed, scheduled or "
                "learned, or kd_weight: 0 and a signal of kind logits"
            )
        if self.temperature.kind == "learned" and self.divergence != "forward-kl":
            raise ValueError(f"temperature: learned goes with forward-kl, got {self.divergence}")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """At which a cache is exact; any other can be applied later, within bounds."""
        return (self.temperature.value,) if isinstance(self.temperature, FixedTemperature) else (1.0,)

    def shares(self, fraction: float) -> tuple[float, float]:
        """How far weights and activations are quantized at a share of the run.

        Example:
            >>> LanguageLossConfig(weights_ramp=(0.0, 0.5), spikes_ramp=(0.5, 0.5)).shares(0.25)
            (0.5, 0.0)
        """
        return _grown(self.weights_ramp, fraction), _grown(self.spikes_ramp, fraction)


def _check_ramp(name: str, ramp: Ramp) -> None:
    start, end = ramp
    if not 0 <= start <= end < 1:
        raise ValueError(f"{name}: expected a start and a later end from 0 to below 1, got {start:g} and {end:g}")


def _grown(ramp: Ramp, fraction: float) -> float:
    start, end = ramp
    if start == end:
        return float(fraction >= start)
    return min(1.0, max(0.0, (fraction - start) / (end - start)))
