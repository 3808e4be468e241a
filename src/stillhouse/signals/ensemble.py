"""The signal of several teachers' class scores, weighed.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.losses.precision import wide
from stillhouse.signals.config.ensemble import EnsembleConfig
from stillhouse.signals.learned_weights import DiverseWeights, LearnedWeights
from stillhouse.signals.pooled import Pooled
from stillhouse.signals.teacher_weights import WeightsFn, confidence_weights, gradient_weights, uniform_weights


class EnsembleSignal(nn.Module):
    """T^2 KL from the teachers' weighted pool to the student; (B,) unweighted.

    Args:
        config: which weights.
        student: its classes and features.
        teacher: the spec of an `EnsembleTeacher`.
        weights_fn: a rule of your own in place of the configured one: (said, members, labels) -> (B, n) whose rows sum to 1.
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
        super().__init__()
        if student.num_classes != teacher.num_classes:
            raise InputError(
                f"signal 'ensemble': expected equal class counts, student has {student.num_classes}, teachers {teacher.num_classes}"
            )
        self.name, self.weight, self.config = "ensemble", config.weight, config
        self.teachers = len(getattr(teacher, "members", ()))  # 0: known once they have spoken
        if self.teachers:
            self._check_count(self.teachers)
        self.weights_fn: WeightsFn = self._rule(config, student, teacher) if weights_fn is None else weights_fn
        self._mean_weights: Tensor | None = None
        self._extra: dict[str, tuple[float, Tensor]] = {}

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample.

        Raises:
            InputError: what was told has no members, or the weights are not (B, n) with rows that sum to 1.
        """
        if told is None or not told.members:
            raise InputError(
                "signal 'ensemble': expected what several teachers said (Outputs.members), got the outputs of one; give "
                "the run more_teachers, or wrap the teacher in EnsembleTeacher"
            )
        members = told.members
        self._check_count(len(members))
        weights = self.weights_fn(said, members, batch.labels)
        self._check_weights(weights, len(said.logits), len(members))
        held = weights.detach()
        self._mean_weights = held.mean(0)
        self._extra = self._training_of(weights, members, batch.labels)
        value = forward_kl(said.logits, self._target(members, held), temperature=self.config.temperature)
        if isinstance(self.weights_fn, DiverseWeights):
            answer = self.weights_fn.answer(told.features, members, weights)
            self._extra["answers"] = (self.config.choice_weight, self.weights_fn.usefulness(answer, batch.labels))
            value = value + self.config.answer_weight * self.weights_fn.distance(said, answer)
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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Learned weights at their own rate, without decay; answer maps are left to the common one."""
        weighing = getattr(self.weights_fn, "weighing", None)
        parameters = cast(Callable[[], list[nn.Parameter]], weighing)() if callable(weighing) else []
        return [{"params": parameters, "lr": self.config.learning_rate, "weight_decay": 0.0}] if parameters else []

    def _rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
        if config.pool == "confidence":
            return confidence_weights
        if config.pool == "gradient":
            return partial(
                gradient_weights,
                temperature=config.temperature,
                temperatures=config.temperatures,
                upper=config.upper,
            )
        if config.pool in ("mean-probabilities", "mean-logits"):
            return uniform_weights
        if not self.teachers:
            raise InputError(
                f"signal 'ensemble', pool {config.pool!r}: learns something for each teacher, and has to know how many there "
                "are; expected the spec of an EnsembleTeacher, got that of a single one"
            )
        read = None if config.student is None else Pooled.of(config.student, student, config.student_layout)
        if config.pool == "learned" or read is None:
            return LearnedWeights(self.teachers, read)
        return DiverseWeights(read, config.answers, student, teacher, self.teachers)

    def _target(self, members: tuple[Outputs, ...], weights: Tensor) -> Tensor:
        """Logits (B, K) whose softmax at the student's temperature is the weighted pool."""
        temperatures = self.config.temperatures or (self.config.temperature,) * len(members)
        log_p = torch.stack([_log_p(told, t) for told, t in zip(members, temperatures)], dim=2)  # (B, K, n)
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
        log_right = torch.stack([-label_cross_entropy(told.logits.detach(), labels) for told in members], dim=1)
        choice = -torch.logsumexp(log_right + log_w, dim=1).mean()
        even = torch.full_like(weights, 1 / len(members)).log()
        entropy = (weights * (log_w - even)).sum(1).mean()
        return {"choice": (self.config.choice_weight, choice), "entropy": (self.config.entropy_weight, entropy)}

    def _check_count(self, got: int) -> None:
        if self.teachers and got != self.teachers:
            raise InputError(f"signal 'ensemble': expected {self.teachers} teachers as it was built for, got {got}")
        temperatures = self.config.temperatures
        if temperatures and len(temperatures) != got:
            raise InputError(f"temperatures: expected one a teacher ({got}), got {len(temperatures)}")

    def _check_weights(self, weights: Tensor, batch: int, teachers: int) -> None:
        same_shape("weights of the teachers", tuple(weights.shape), (batch, teachers))
        if self._mean_weights is None and bool(
            ((weights.detach().sum(1) - 1).abs() > 1e-3).any()
        ):  # once: it costs a sync
            raise InputError(f"weights of the teachers: expected rows that sum to 1, got {weights.sum(1).tolist()[:5]}")


def _log_p(told: Outputs, temperature: float) -> Tensor:
    return torch.log_softmax(wide(told.logits.detach()) / temperature, dim=1)
