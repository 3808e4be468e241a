"""Class scores of several teachers, weighed.

Shapes: B batch, K classes, n teachers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import Beside, configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.losses.values import wide
from stillhouse.signals.base import Signal, SignalBase
from stillhouse.signals.bridges import Layout, Pooled
from stillhouse.signals.learned_weights import DiverseWeights, LearnedWeights, WeighingModule

# ---------------------------------------------------------------------------------------------- pools


class Pool(ABC):
    """How teachers are weighed."""

    @abstractmethod
    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """The weights by sample; `teachers` is 0 where their number is not known."""


@configclass
class MeanProbabilities(Pool):
    """Equal weights."""

    kind: Literal["mean-probabilities"] = "mean-probabilities"

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """1/n."""
        return uniform_weights


@configclass
class MeanLogits(Pool):
    """Equal weights in the geometric pool."""

    kind: Literal["mean-logits"] = "mean-logits"

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """1/n."""
        return uniform_weights


@configclass
class Confidence(Pool):
    """Less to a teacher that is further from the label (CA-MKD)."""

    kind: Literal["confidence"] = "confidence"

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """From cross-entropies."""
        return confidence_weights


@configclass
class GradientPool(Pool):
    """A common direction that no teacher is against (AE-KD)."""

    kind: Literal["gradient"] = "gradient"
    upper: float = Field(default=0.6, gt=0, le=1, description="largest weight of one teacher, at least 1/n")

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
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

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """A module."""
        _known(self.kind, teachers)
        return LearnedWeights(teachers, _reader(self, student))


@configclass
class DiversePool(Pool):
    """By asking each teacher's embedding (after DiverseDistill)."""

    kind: Literal["diverse"] = "diverse"
    student: str | None = Field(default=None, description="path of the student's sub-module that asks")
    student_layout: Layout = Field(default="auto", description="axes of its output; auto: by their number")
    answers: tuple[str, ...] = Field(
        default=(), description="one feature a teacher, as 0:layer3, 1:blocks.2; empty: their class scores"
    )
    answer_weight: float = Field(
        default=0.1, ge=0, description="factor of the student's distance to the teachers' answer"
    )

    def __post_init__(self) -> None:
        if self.student is None:
            raise ValueError("student: pool 'diverse' asks with a feature of the student; expected a path, got none")

    def rule(self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, teachers: int) -> WeightsFn:
        """A module."""
        _known(self.kind, teachers)
        read = _reader(self, student)
        assert read is not None  # see __post_init__
        return DiverseWeights(read, self.answers, student, teacher, teachers)


AnyPool = MeanProbabilities | MeanLogits | Confidence | GradientPool | LearnedPool | DiversePool


def _known(pool: str, teachers: int) -> None:
    if not teachers:
        raise InputError(
            f"signal 'ensemble', pool {pool!r}: learns something for each teacher, and has to know how many there "
            "are; expected the spec of an EnsembleTeacher, got that of a single one"
        )


def _reader(pool: LearnedPool | DiversePool, student: OutputSpec) -> Pooled | None:
    return None if pool.student is None else Pooled.of(pool.student, student, pool.student_layout)


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
    choice_weight: float = Field(
        default=1.0,
        gt=0,
        description="learned weights: factor of the cross-entropy of the pooled target with the labels",
    )
    entropy_weight: float = Field(
        default=0.01,
        ge=0,
        description="learned weights: factor of ln n minus their entropy, against choosing one teacher",
    )
    learning_rate: float = Field(default=0.01, gt=0, description="of learned weights; they never decay")

    def __post_init__(self) -> None:
        if any(t <= 0 for t in self.temperatures):
            raise ValueError(f"temperatures: expected numbers above 0, got {self.temperatures}")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """What weighs by sample, if anything does."""
        chosen = self.pool.student if isinstance(self.pool, (LearnedPool, DiversePool)) else None
        return () if chosen is None else (chosen,)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """The answers, `i:path`."""
        return self.pool.answers if isinstance(self.pool, DiversePool) else ()

    @property
    def compares_samples(self) -> bool:
        """True of the gradient pool, whose weights are those of a batch."""
        return isinstance(self.pool, GradientPool)

    @property
    def reads_one_label(self) -> bool:
        """Weights are set by the labels."""
        return True

    def build(self, student: OutputSpec, teacher: OutputSpec) -> EnsembleSignal:
        """The signal, for the spec of an `EnsembleTeacher`."""
        return EnsembleSignal(self, student, teacher)


class EnsembleSignal(Signal):
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
        if student.num_classes != teacher.num_classes:
            raise InputError(
                f"signal 'ensemble': expected equal class counts, student has {student.num_classes}, teachers {teacher.num_classes}"
            )
        self.config = config
        self.teachers = len(teacher.members)  # 0: known once they have answered
        if self.teachers:
            self._check_count(self.teachers)
        self.weights_fn: WeightsFn = (
            config.pool.rule(config, student, teacher, self.teachers) if weights_fn is None else weights_fn
        )
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
            self._extra["answers"] = (self.config.choice_weight, self.weights_fn.usefulness(answer, batch.labels))
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


def _log_p(member: Outputs, temperature: float) -> Tensor:
    return torch.log_softmax(wide(member.logits.detach()) / temperature, dim=1)


WeightsFn = Callable[[Outputs, Sequence[Outputs], Tensor], Tensor]
"""(outputs of the student, of each teacher, labels (B,)) -> weights (B, n) whose rows sum to 1."""


def uniform_weights(student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
    """1/n for every teacher and sample.

    Example:
        >>> members = [Outputs(torch.zeros(1, 2))] * 4
        >>> uniform_weights(members[0], members, torch.tensor([0])).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    logits = wide(members[0].logits)
    return logits.new_full((logits.shape[0], len(members)), 1 / len(members))


def confidence_weights(student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
    """(1 - softmax over teachers of their cross-entropy) / (n - 1): for each sample, less to a teacher that is wrong.

    No teacher gets more than 1/(n - 1): with two one can rule alone, with many all count.

    Args:
        student_out: of the student; not used.
        members: logits (B, K) of each teacher.
        labels: (B,) int64.

    Returns:
        (B, n); 1 for a single teacher.

    Example:
        Cross-entropies 0 and 50: the sure and right one gets everything, and half if it is one of three.

        >>> good, bad = Outputs(torch.tensor([[50.0, 0.0]])), Outputs(torch.tensor([[0.0, 50.0]]))
        >>> confidence_weights(good, [good, bad], torch.tensor([0])).tolist()
        [[1.0, 0.0]]
        >>> confidence_weights(good, [good, bad, good], torch.tensor([0])).tolist()
        [[0.5, 0.0, 0.5]]

    Source: Zhang, Chen, Wang 2022, arXiv:2201.00007 (CA-MKD).
    """
    n = len(members)
    if n == 1:
        return uniform_weights(student_out, members, labels)
    errors = torch.stack([label_cross_entropy(member.logits.detach(), labels) for member in members], dim=1)
    return (1 - torch.softmax(errors, dim=1)) / (n - 1)


def gradient_weights(
    student_out: Outputs,
    members: Sequence[Outputs],
    labels: Tensor,
    *,
    temperature: float = 1.0,
    temperatures: Sequence[float] = (),
    upper: float = 1.0,
) -> Tensor:
    """The weights, equal for all samples of the batch, whose summed gradient is the shortest: where teachers disagree it gives way.

    With these weights no teacher's loss rises to first order in the student's logits (unless `upper` forbids it). The
    gradients need no backward pass: for T^2 KL that of teacher t in the student's logits is T (q - p_t). They are compared
    over all logits of the batch; the released code compares their means over the batch, which samples can cancel.

    Args:
        student_out: logits (B, K) of the student; get no gradient.
        members: logits (B, K) of each teacher.
        labels: (B,); not used.
        temperature: T of the student's side, and of a teacher without one of its own.
        temperatures: one a teacher, or none.
        upper: largest weight of one teacher; below 1/n it is taken as 1/n, which leaves equal weights.

    Returns:
        (B, n), all rows equal.

    Example:
        The student lies between two teachers, three times nearer to the first in probability (5/8 of 3/4 .. 1/4): gradients
        -1/8 and 3/8 cancel at weights 3/4 and 1/4.

        >>> p, r, q = (Outputs(torch.tensor([[x, 1 - x]]).log()) for x in (0.75, 0.25, 0.625))
        >>> [round(x, 4) for x in gradient_weights(q, [p, r], torch.tensor([0]))[0].tolist()]
        [0.75, 0.25]

    Source: Du et al. 2020 (Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space, NeurIPS).
    """
    sides = tuple(temperatures) or (temperature,) * len(members)
    with torch.no_grad():
        q = torch.softmax(wide(student_out.logits) / temperature, dim=1)
        gaps = [temperature * (q - torch.softmax(wide(member.logits) / t, dim=1)) for member, t in zip(members, sides)]
        flat = torch.stack(gaps).flatten(1).double()
        weights = min_norm_weights((flat @ flat.T).cpu().numpy(), upper=upper)
    row = torch.as_tensor(weights, dtype=q.dtype, device=q.device)
    return row.expand(q.shape[0], -1)


def min_norm_weights(gram: np.ndarray, *, upper: float = 1.0, steps: int = 2000) -> np.ndarray:
    """argmin over w of w' G w, with w in [0, upper] that sum to 1: the shortest vector in a hull of vectors.

    Frank-Wolfe's pairwise form: mass goes from the vector that raises the norm most to the one that raises it least, by an
    exact line search. The plain form crawls where the answer lies on a face, as it does with one bad teacher.

    Args:
        gram: (n, n) inner products.
        upper: bound on each weight; below 1/n it is taken as 1/n.
        steps: at most so many moves; it stops where no move helps by more than a 1e-12th of the largest entry.

    Returns:
        (n,), NaN where an entry is not finite.

    Example:
        Orthogonal vectors of squared length 1 and 3: weights go with the inverse.

        >>> min_norm_weights(np.diag([1.0, 3.0])).tolist()
        [0.75, 0.25]
        >>> min_norm_weights(np.diag([1.0, 3.0]), upper=0.6).tolist()
        [0.6, 0.4]

    Source: Desideri 2012 (multiple-gradient descent); Lacoste-Julien, Jaggi 2015, arXiv:1511.05932 (pairwise steps).
    """
    n = len(gram)
    if not np.isfinite(gram).all():
        return np.full(n, np.nan)
    bound, w = max(upper, 1 / n), np.full(n, 1 / n)
    for _ in range(steps):
        slope = gram @ w
        to = int(np.argmin(np.where(w < bound, slope, np.inf)))
        take = int(np.argmax(np.where(w > 0, slope, -np.inf)))
        gain = slope[take] - slope[to]
        if not w[to] < bound or gain <= 1e-12 * np.abs(gram).max():
            break
        bend = gram[to, to] + gram[take, take] - 2 * gram[to, take]
        room = min(bound - w[to], w[take])
        move = room if bend <= 0 else min(gain / bend, room)
        w[to], w[take] = w[to] + move, w[take] - move
    return w
