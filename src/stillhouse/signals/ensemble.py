"""Class scores of several teachers, weighed.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import Beside, configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.losses.values import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.signals.bridges import Layout, Side
from stillhouse.signals.learned_weights import DiverseWeights, LearnedWeights, WeighingModule
from stillhouse.signals.teacher_weights import WeightsFn, confidence_weights, gradient_weights, uniform_weights

CHOICE = 1.0  # learned weights: factor of the cross-entropy of the pooled target with the labels
ENTROPY = 0.01  # and of ln n minus their entropy, against choosing one teacher

# ---------------------------------------------------------------------------------------------- pools


class Pool:
    """How teachers are weighed."""

    weights: ClassVar[Any] = staticmethod(uniform_weights)  # a `WeightsFn`

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
        """The weights by sample."""
        found: WeightsFn = type(self).weights
        return found


@configclass
class MeanProbabilities(Pool):
    """Equal weights."""

    kind: Literal["mean-probabilities"] = "mean-probabilities"


@configclass
class MeanLogits(Pool):
    """Equal weights in the geometric pool."""

    kind: Literal["mean-logits"] = "mean-logits"


@configclass
class Confidence(Pool):
    """Less to a teacher that is further from the label (CA-MKD)."""

    weights = staticmethod(confidence_weights)
    kind: Literal["confidence"] = "confidence"


@configclass
class GradientPool(Pool):
    """A common direction that no teacher is against (AE-KD)."""

    kind: Literal["gradient"] = "gradient"
    upper: float = Field(default=0.6, gt=0, le=1, description="largest weight of one teacher, at least 1/n")

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
        """From gradients in the student's scores."""
        return partial(
            gradient_weights, temperature=config.temperature, temperatures=config.temperatures, upper=self.upper
        )


@configclass
class LearnedPool(Pool):
    """By a feature of the student (AMTML-KD)."""

    kind: Literal["learned"] = "learned"
    student: str | None = Field(
        default=None, description="path of the student's sub-module that sets weights by sample; none: weights for all"
    )
    student_layout: Layout = Field(default="auto", description="axes of its output; auto: by their number")

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
        """A module."""
        read = None if self.student is None else Side.of("student", self.student, student, self.student_layout)
        return LearnedWeights(_count(self.kind, teacher), read)


@configclass
class DiversePool(Pool):
    """By asking each teacher's embedding (after DiverseDistill)."""

    kind: Literal["diverse"] = "diverse"
    student: str = Field(min_length=1, description="path of the student's sub-module that asks")
    student_layout: Layout = Field(default="auto", description="axes of its output; auto: by their number")
    answers: tuple[str, ...] = Field(
        default=(), description="one feature a teacher, as 0:layer3, 1:blocks.2; empty: their class scores"
    )
    answer_weight: float = Field(
        default=0.1, ge=0, description="factor of the student's distance to the teachers' answer"
    )

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
        """A module."""
        read = Side.of("student", self.student, student, self.student_layout)
        return DiverseWeights(read, self.answers, student, teacher, _count(self.kind, teacher))


AnyPool = MeanProbabilities | MeanLogits | Confidence | GradientPool | LearnedPool | DiversePool


def _count(pool: str, teacher: OutputSpec) -> int:
    if not teacher.members:
        raise InputError(
            f"signal 'ensemble', pool {pool!r}: learns something for each teacher, and has to know how many there "
            "are; expected the spec of an EnsembleTeacher, got that of a single one"
        )
    return len(teacher.members)


# ---------------------------------------------------------------------------------------------- signal


@configclass
class EnsembleConfig(SignalBase):
    """Learn from several teachers: T^2 KL from their pooled class probabilities, weighed in one of these ways.

    - `mean-probabilities`: equal weights (the same gradient as the mean of the KLs to each).
    - `mean-logits`: the geometric pool, equal weights; a class survives only if every teacher lets it.
    - `confidence`: for each sample less weight to the teacher that is further from the label (CA-MKD); nothing is learned.
    - `gradient`: for each batch the weights whose common direction is one that no teacher is against (AE-KD). It favors the
      teacher that is nearest to the student and cannot detect a bad one: at the start that may be one at random. `upper` bounds it.
    - `learned`: weights for each sample from a student feature (AMTML-KD), trained to make the pooled target right.
    - `diverse`: weights by asking each teacher's embedding, and answers mapped to the student's space (after DiverseDistill).

    Learned weights never see the distillation loss: it is smallest for the teacher that is nearest to the student, so they
    would choose the easiest one. They are trained by the cross-entropy of the pooled target with the labels, with the
    student's feature detached, and held off one teacher by their entropy.

    Source: Zhang et al. 2022, arXiv:2201.00007 (CA-MKD); Du et al. 2020 (AE-KD, NeurIPS); Liu, Zhang, Wang 2020,
    arXiv:2103.04062 (AMTML-KD); Liu et al. 2024, arXiv:2402.14035 (DiverseDistill).
    """

    kind: Literal["ensemble"] = "ensemble"
    pool: Annotated[AnyPool, Beside()] = Field(
        default=MeanProbabilities(), discriminator="kind", description="how teachers are weighed"
    )
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    temperatures: tuple[float, ...] = Field(
        default=(), description="one a teacher, on the teacher's side only; empty: temperature for all"
    )
    learning_rate: float = Field(default=0.01, gt=0, description="of learned weights; they never decay")

    def __post_init__(self) -> None:
        if any(t <= 0 for t in self.temperatures):
            raise ValueError(f"temperatures: expected numbers above 0, got {self.temperatures}")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """What weighs by sample, if anything does."""
        chosen = getattr(self.pool, "student", None)
        return () if chosen is None else (chosen,)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """The answers, `i:path`."""
        return getattr(self.pool, "answers", ())

    @property
    def compares_samples(self) -> bool:
        """True of the gradient pool, whose weights are those of a batch."""
        return isinstance(self.pool, GradientPool)

    @property
    def reads_one_label(self) -> bool:
        """Weights are set by the labels."""
        return True


class EnsembleSignal(Signal, of=EnsembleConfig):
    """T^2 KL from the teachers' weighted pool to the student; (B,) unweighted.

    Args:
        config: which weights.
        student: its classes and features.
        teacher: the spec of an `EnsembleTeacher`.
        weights_fn: a rule of your own in place of the configured one: (student_out, members, labels) -> (B, n) whose rows sum to 1.
            If its weights have a gradient they are trained as the learned ones are, by the labels (see `regularizers`); a
            module is learned along.

    Attributes:
        weights_fn: the rule in use.

    Raises:
        InputError: class counts differ, a path is not there, or a learned pool does not know how many teachers there are.
    """

    def __init__(
        self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, *, weights_fn: WeightsFn | None = None
    ) -> None:
        super().__init__(config.name or "ensemble", config.weight)
        check_classes("ensemble", student, teacher, all_scores=False)
        self.config = config
        self.teachers = len(teacher.members)  # 0: known once they have answered
        if self.teachers:
            self._check_count(self.teachers)
        self.weights_fn: WeightsFn = weights_fn or config.pool.rule(config, student, teacher)
        self._mean_weights: Tensor | None = None
        self._extra: dict[str, tuple[float, Tensor]] = {}

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample.

        Raises:
            InputError: the teacher's outputs have no members, or the weights are not (B, n) with rows that sum to 1.
        """
        if teacher_out is None or not teacher_out.members:
            raise InputError(
                "signal 'ensemble': expected the outputs of several teachers (Outputs.members), got the outputs of one; give "
                "the run more_teachers, or wrap the teacher in EnsembleTeacher"
            )
        members = teacher_out.members
        self._check_count(len(members))
        weights = self.weights_fn(student_out, members, batch.labels)
        self._check_weights(weights, len(student_out.logits), len(members))
        held = weights.detach()
        self._mean_weights = held.mean(0)
        self._extra = self._training_of(weights, members, batch.labels)
        value = forward_kl(student_out.logits, self._target(members, held), temperature=self.config.temperature)
        if isinstance(self.weights_fn, DiverseWeights) and isinstance(self.config.pool, DiversePool):
            answer = self.weights_fn.answer(teacher_out.features, members, weights)
            self._extra["answers"] = (CHOICE, self.weights_fn.usefulness(answer, batch.labels))
            value = value + self.config.pool.answer_weight * self.weights_fn.distance(student_out, answer)
        return value

    def figures(self) -> dict[str, float]:
        """Mean weight of each teacher in the last batch."""
        if self._mean_weights is None:
            return {}
        return {f"weight_{i}": value for i, value in enumerate(self._mean_weights.tolist())}

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What trains learned weights: `choice`, the cross-entropy of the pooled target (T = 1) with the labels, and
        `entropy`, ln n minus the entropy of the weights; `answers` for the pool `diverse`. {} for fixed rules.
        """
        return self._extra

    def groups(self) -> list[dict[str, Any]]:
        """Learned weights at their own rate, without decay; answer maps are left to the common one."""
        parameters = self.weights_fn.weighing() if isinstance(self.weights_fn, WeighingModule) else []
        return [{"params": parameters, "lr": self.config.learning_rate, "weight_decay": 0.0}] if parameters else []

    def _target(self, members: tuple[Outputs, ...], weights: Tensor) -> Tensor:
        """Logits (B, K) whose softmax at the student's temperature is the weighted pool."""
        temperatures = self.config.temperatures or (self.config.temperature,) * len(members)
        log_p = torch.stack([_log_p(member, t) for member, t in zip(members, temperatures)], dim=2)  # (B, K, n)
        if isinstance(self.config.pool, MeanLogits):
            share = weights.unsqueeze(1)
            log_target = torch.where(share == 0, 0.0, log_p * share).sum(2)  # 0 times -inf is NaN
        else:
            log_target = torch.logsumexp(log_p + weights.log().unsqueeze(1), dim=2)
        return self.config.temperature * log_target

    def _training_of(
        self, weights: Tensor, members: tuple[Outputs, ...], labels: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        if not weights.requires_grad:
            return {}
        log_w = weights.clamp(min=1e-12).log()
        log_right = torch.stack([-label_cross_entropy(member.logits.detach(), labels) for member in members], dim=1)
        choice = -torch.logsumexp(log_right + log_w, dim=1).mean()
        even = torch.full_like(weights, 1 / len(members)).log()
        entropy = (weights * (log_w - even)).sum(1).mean()
        return {"choice": (CHOICE, choice), "entropy": (ENTROPY, entropy)}

    def _check_count(self, got: int) -> None:
        if self.teachers and got != self.teachers:
            raise InputError(f"signal 'ensemble': expected {self.teachers} teachers as it was built for, got {got}")
        temperatures = self.config.temperatures
        if temperatures and len(temperatures) != got:
            raise InputError(f"temperatures: expected one a teacher ({got}), got {len(temperatures)}")

    def _check_weights(self, weights: Tensor, batch: int, teachers: int) -> None:
        same_shape("weights of the teachers", tuple(weights.shape), (batch, teachers))
        # once: it costs a sync
        if self._mean_weights is None and bool(((weights.detach().sum(1) - 1).abs() > 1e-3).any()):
            raise InputError(f"weights of the teachers: expected rows that sum to 1, got {weights.sum(1).tolist()[:5]}")


def _log_p(member: Outputs, temperature: float) -> Tensor:
    return torch.log_softmax(wide(member.logits.detach()) / temperature, dim=1)
