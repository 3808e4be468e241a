"""Class scores of several teachers, weighed.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.losses.softened import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes, refuse_idle
from stillhouse.signals.bridges import LAYOUT_HELP, Layout, Side
from stillhouse.signals.teacher_weights import (
    DiverseWeights,
    LearnedWeights,
    WeighingModule,
    WeightsFn,
    confidence_weights,
    gradient_weights,
    uniform_weights,
)

CHOICE = 1.0  # learned weights: factor of the cross-entropy of the pooled target with the labels
ENTROPY = 0.01  # and of ln n minus their entropy, against choosing one teacher

LEARNING_RATE = 0.01  # of learned weights; they never decay
UPPER = 0.6  # pool gradient: largest weight of one teacher, at least 1/n
ANSWER_WEIGHT = 0.1  # pool diverse: factor of the student's distance to the teachers' answer
PoolName = Literal["mean-probabilities", "mean-logits", "confidence", "gradient", "learned", "diverse"]
READ_BY: dict[PoolName, tuple[str, ...]] = {
    "mean-probabilities": (),
    "mean-logits": (),
    "confidence": (),
    "gradient": (),
    "learned": ("student",),
    "diverse": ("student", "answers"),
}


@configclass
class EnsembleConfig(SignalBase):
    """Learn from several teachers: T^2 KL from their pooled class probabilities, weighed in one of these ways.

    - `mean-probabilities`: equal weights (the same gradient as the mean of the KLs to each).
    - `mean-logits`: the geometric pool, equal weights; a class survives only if every teacher lets it.
    - `confidence`: for each sample less weight to the teacher that is further from the label (CA-MKD); nothing is learned.
    - `gradient`: for each batch the weights whose common direction is one that no teacher is against (AE-KD). It favors the
      teacher that is nearest to the student and cannot detect a bad one: at the start that may be one at random. None gets more
      than 0.6.
    - `learned`: weights for each sample from a student feature (AMTML-KD), trained to make the pooled target right.
    - `diverse`: weights by asking each teacher's embedding, and answers mapped to the student's space (after DiverseDistill).

    Learned weights never see the distillation loss: it is smallest for the teacher that is nearest to the student, so they
    would choose the easiest one. They are trained by the cross-entropy of the pooled target with the labels, with the
    student's feature detached, and held off one teacher by their entropy.

    Source: Zhang et al. 2022, arXiv:2201.00007 (CA-MKD); Du et al. 2020 (AE-KD, NeurIPS); Liu, Zhang, Wang 2020,
    arXiv:2103.04062 (AMTML-KD); Liu et al. 2024, arXiv:2402.14035 (DiverseDistill).
    """

    kind: Literal["ensemble"] = "ensemble"
    pool: PoolName = Field(default="mean-probabilities", description="how teachers are weighed")
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    student: str | None = Field(
        default=None,
        min_length=1,
        description="learned, diverse: path of the student's sub-module that sets weights by sample; learned, none: for all",
    )
    student_layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    answers: tuple[str, ...] | None = Field(
        default=None, description="diverse: one feature a teacher, as 0:layer3, 1:blocks.2 [their class scores]"
    )

    def __post_init__(self) -> None:
        refuse_idle(self, "pool", READ_BY)
        if self.pool == "diverse" and self.student is None:
            raise ValueError("student: expected the path of the sub-module that asks, under pool 'diverse'")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """What weighs by sample, if anything does."""
        return () if self.student is None else (self.student,)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """The answers, `i:path`."""
        return self.answers or ()

    @property
    def compares_samples(self) -> bool:
        """True of the gradient pool, whose weights are those of a batch."""
        return self.pool == "gradient"

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
        self.weights_fn: WeightsFn = weights_fn or _rule(config, student, teacher)
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
        weights = self.weights_fn(student_out, members, batch.labels)
        self._check_weights(weights, len(student_out.logits), len(members))
        held = weights.detach()
        self._mean_weights = held.mean(0)
        self._extra = self._training_of(weights, members, batch.labels)
        value = forward_kl(student_out.logits, self._target(members, held), temperature=self.config.temperature)
        if isinstance(self.weights_fn, DiverseWeights):
            answer = self.weights_fn.answer(teacher_out.features, members, weights)
            self._extra["answers"] = (CHOICE, self.weights_fn.usefulness(answer, batch.labels))
            value = value + ANSWER_WEIGHT * self.weights_fn.distance(student_out, answer)
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
        return [{"params": parameters, "lr": LEARNING_RATE, "weight_decay": 0.0}] if parameters else []

    def _target(self, members: tuple[Outputs, ...], weights: Tensor) -> Tensor:
        """Logits (B, K) whose softmax at the student's temperature is the weighted pool."""
        hot = [wide(member.logits.detach()) / self.config.temperature for member in members]
        log_p = torch.stack([torch.log_softmax(z, dim=1) for z in hot], dim=2)  # (B, K, n)
        if self.config.pool == "mean-logits":
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

    def _check_weights(self, weights: Tensor, batch: int, teachers: int) -> None:
        same_shape("weights of the teachers", tuple(weights.shape), (batch, teachers))
        # once: it costs a sync
        if self._mean_weights is None and bool(((weights.detach().sum(1) - 1).abs() > 1e-3).any()):
            raise InputError(f"weights of the teachers: expected rows that sum to 1, got {weights.sum(1).tolist()[:5]}")


def _rule(config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
    """How the configured pool weighs teachers by sample."""
    if config.pool == "confidence":
        return confidence_weights
    if config.pool == "gradient":
        return partial(gradient_weights, temperature=config.temperature, upper=UPPER)
    if config.pool in ("mean-probabilities", "mean-logits"):
        return uniform_weights
    if not teacher.members:
        raise InputError(f"signal 'ensemble', pool {config.pool!r}: expected several teachers, got a single one")
    read = None if config.student is None else Side.of("student", config.student, student, config.student_layout)
    if config.pool == "diverse" and read is not None:
        return DiverseWeights(read, config.answers or (), student, teacher)
    return LearnedWeights(len(teacher.members), read)
