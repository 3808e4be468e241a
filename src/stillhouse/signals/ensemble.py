"""Class scores of several teachers, weighed by fixed rules, or by what is learned from the student's state.

What is learned here is trained by the labels, never by the distillation loss, which would choose the teacher that is nearest to
the student. Shapes: B batch, D width of the student's feature, K classes, n teachers, E width of a teacher's embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.regression import label_cross_entropy, mse
from stillhouse.losses.softened import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.signals.bridges import LAYOUT_HELP, Layout, Side, standardize

CHOICE = 1.0  # learned weights: factor of the cross-entropy of the pooled target with the labels
ENTROPY = 0.01  # and of ln n minus their entropy, against choosing one teacher
LEARNING_RATE = 0.01  # of learned weights; they never decay
UPPER = 0.6  # pool gradient: largest weight of one teacher, at least 1/n
ANSWER_WEIGHT = 0.1  # pool diverse: factor of the student's distance to the teachers' answer
EMBEDDING = 32  # E
PoolName = Literal["mean-probabilities", "mean-logits", "confidence", "gradient", "learned", "diverse"]
WeightsFn = Callable[[Outputs, Sequence[Outputs], Tensor], Tensor]
"""(outputs of the student, of each teacher, labels (B,)) -> weights (B, n) whose rows sum to 1."""


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
    answers: tuple[str, ...] = Field(
        default=(), description="diverse: one feature a teacher, as 0:layer3, 1:blocks.2 [their class scores]"
    )

    def __post_init__(self) -> None:
        if self.pool == "diverse" and self.student is None:
            raise ValueError("student: expected the path of the sub-module that asks, under pool 'diverse'")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """What weighs by sample, if anything does."""
        return () if self.student is None else (self.student,)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """The answers, `i:path`."""
        return self.answers

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
        InputError: class counts differ, a path is not there, or a single teacher.
    """

    def __init__(
        self, config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec, *, weights_fn: WeightsFn | None = None
    ) -> None:
        super().__init__(config.name or "ensemble", config.weight)
        check_classes(self.name, student, teacher, all_scores=False)
        if not teacher.members:
            raise InputError(
                f"signal {self.name!r}: expected several teachers, got a single one; give the run more_teachers"
            )
        self.config = config
        self.weights_fn: WeightsFn = weights_fn or _rule(config, student, teacher)
        self._mean_weights = torch.zeros(0)
        self._extra: dict[str, tuple[float, Tensor]] = {}

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        members = teacher_out.members
        weights = self.weights_fn(student_out, members, batch.labels)
        same_shape("weights of the teachers", tuple(weights.shape), (len(student_out.logits), len(members)))
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
        return {f"weight_{i}": value for i, value in enumerate(self._mean_weights.tolist())}

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What trains learned weights: `choice`, the cross-entropy of the pooled target (T = 1) with the labels, and
        `entropy`, ln n minus the entropy of the weights; `answers` for the pool `diverse`. {} for fixed rules.
        """
        return self._extra

    def groups(self) -> list[dict[str, Any]]:
        """Learned weights at their own rate, without decay; answer maps are left to the common one."""
        if not isinstance(self.weights_fn, LearnedWeights | DiverseWeights):
            return []
        return [{"params": self.weights_fn.weighing(), "lr": LEARNING_RATE, "weight_decay": 0.0}]

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


def _rule(config: EnsembleConfig, student: OutputSpec, teacher: OutputSpec) -> WeightsFn:
    """How the configured pool weighs teachers by sample."""
    if config.pool == "confidence":
        return confidence_weights
    if config.pool == "gradient":
        return partial(gradient_weights, temperature=config.temperature, upper=UPPER)
    if config.pool in ("mean-probabilities", "mean-logits"):
        return uniform_weights
    read = None if config.student is None else Side.of("student", config.student, student, config.student_layout)
    if config.pool == "diverse" and read is not None:
        return DiverseWeights(read, config.answers, student, teacher)
    return LearnedWeights(len(teacher.members), read)


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
    student_out: Outputs, members: Sequence[Outputs], labels: Tensor, *, temperature: float = 1.0, upper: float = 1.0
) -> Tensor:
    """The weights, equal for all samples of the batch, whose summed gradient is the shortest: where teachers disagree it gives way.

    With these weights no teacher's loss rises to first order in the student's logits (unless `upper` forbids it). The
    gradients need no backward pass: for T^2 KL that of teacher t in the student's logits is T (q - p_t). They are compared
    over all logits of the batch; the released code compares their means over the batch, which samples can cancel.

    Args:
        student_out: logits (B, K) of the student; get no gradient.
        members: logits (B, K) of each teacher.
        labels: (B,); not used.
        temperature: T of both sides.
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
    with torch.no_grad():
        q = torch.softmax(wide(student_out.logits) / temperature, dim=1)
        gaps = [temperature * (q - torch.softmax(wide(member.logits) / temperature, dim=1)) for member in members]
        flat = torch.stack(gaps).flatten(1).double()
        weights = min_norm_weights((flat @ flat.T).cpu().numpy(), upper=upper)
    row = torch.as_tensor(weights, dtype=q.dtype, device=q.device)
    return row.expand(q.shape[0], -1)


def min_norm_weights(gram: np.ndarray, *, upper: float = 1.0) -> np.ndarray:
    """argmin over w of w' G w, with w in [0, upper] that sum to 1: the shortest vector in a hull of vectors.

    Args:
        gram: (n, n) inner products.
        upper: bound on each weight; below 1/n it is taken as 1/n.

    Returns:
        (n,), NaN where an entry is not finite.

    Example:
        Orthogonal vectors of squared length 1 and 3: weights go with the inverse.

        >>> min_norm_weights(np.diag([1.0, 3.0])).round(4).tolist()
        [0.75, 0.25]
        >>> min_norm_weights(np.diag([1.0, 3.0]), upper=0.6).round(4).tolist()
        [0.6, 0.4]

    Source: Desideri 2012 (multiple-gradient descent).
    """
    from scipy.optimize import minimize

    n = len(gram)
    largest = np.abs(gram).max()
    if not np.isfinite(largest) or largest == 0:
        return np.full(n, np.nan if largest != 0 else 1 / n)
    gram = gram / largest
    found = minimize(
        lambda w: w @ gram @ w,
        np.full(n, 1 / n),
        jac=lambda w: 2 * gram @ w,
        bounds=[(0.0, max(upper, 1 / n))] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    weights: np.ndarray = found.x / found.x.sum()
    return weights


class LearnedWeights(nn.Module):
    """softmax over teachers of b_t + v' (theta_t * h): a latent vector for each teacher, read by the student's feature h.

    h is detached (what weighs teachers must not bend the student) and standardized over channels. The bias b_t is ours: h
    has no constant channel after that, and a teacher that is bad everywhere has to be left everywhere. All starts at equal
    weights; without a feature the weights are the same for all samples.

    Args:
        teachers: n.
        read: the student's feature, or None.

    Source: Liu, Zhang, Wang 2020, arXiv:2103.04062 (AMTML-KD); trained otherwise, see `EnsembleConfig`.
    """

    def __init__(self, teachers: int, read: Side | None) -> None:
        super().__init__()
        self.read = read
        self.bias = nn.Parameter(torch.zeros(teachers))
        if read is not None:
            self.latent = nn.Parameter(torch.zeros(teachers, read.width))
            self.shared = nn.Parameter(torch.ones(read.width))

    def forward(self, student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
        """(B, n), with a gradient to what is learned here only."""
        if self.read is None:
            return torch.softmax(self.bias, dim=0).expand(len(student_out.logits), -1)
        h = state(self.read, student_out).detach()
        return torch.softmax(self.bias + h @ (self.latent * self.shared).T, dim=1)

    def weighing(self) -> list[nn.Parameter]:
        """What decides the weights: learned at a rate of its own."""
        return list(self.parameters())


class DiverseWeights(nn.Module):
    """The student asks each teacher: a question from its feature, matched with an embedding of each teacher, and answers.

    weights = softmax over t of (question(h) . e_t / sqrt(E)); answer = sum_t w_t A_t(feature of teacher t), in the student's
    width. Embeddings, question, answer maps and a linear head on the answer are trained by the labels: by the cross-entropy
    of the pooled target and of that head. The student's feature is drawn to the answer, which is held fixed meanwhile: were
    the maps trained by that distance, a constant answer would be the best one.

    This is the form of DiverseDistill that asks frozen teachers for what they put out anyway. The published question goes
    through a teacher's later layers, and teachers that count little are not asked at all; neither is done here. For
    another rule give `EnsembleSignal` a `weights_fn`.

    Args:
        read: the student's feature.
        answers: one feature a teacher, `i:path`; none: their class scores.
        student: class count.
        teacher: features of all teachers.
    Raises:
        InputError: features that are not there, or not one of each teacher.

    Source: Liu et al. 2024, arXiv:2402.14035 (DiverseDistill).
    """

    def __init__(self, read: Side, answers: Sequence[str], student: OutputSpec, teacher: OutputSpec) -> None:
        teachers = len(teacher.members)
        super().__init__()
        if answers and [path.partition(":")[0] for path in answers] != [str(i) for i in range(teachers)]:
            wanted = ", ".join(f"'{i}:...'" for i in range(teachers))
            raise InputError(f"answers: expected one feature a teacher in order, {wanted}, got {', '.join(answers)}")
        self.read = read
        self.sources = [Side.of("teacher", path, teacher) for path in answers]
        widths = [source.width for source in self.sources] or [teacher.num_classes] * teachers
        self.question = nn.Linear(read.width, EMBEDDING)
        self.embedding = nn.Parameter(torch.zeros(teachers, EMBEDDING))
        self.answer_maps = nn.ModuleList(nn.Linear(size, read.width) for size in widths)
        self.head = nn.Linear(read.width, student.num_classes)

    def forward(self, student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
        """(B, n), with a gradient to what is learned here only."""
        question = self.question(state(self.read, student_out).detach())
        return torch.softmax(question @ self.embedding.T / math.sqrt(EMBEDDING), dim=1)

    def weighing(self) -> list[nn.Parameter]:
        """What decides the weights: learned at a rate of its own."""
        return [self.embedding, *self.question.parameters()]

    def answer(self, features: Mapping[str, Tensor], members: Sequence[Outputs], weights: Tensor) -> Tensor:
        """(B, D): the teachers' weighted answer, in the student's width."""
        given = [read.pooled(features) for read in self.sources] or [wide(member.logits) for member in members]
        mapped = [a(standardize(x.detach())) for a, x in zip(self.answer_maps, given)]
        return (torch.stack(mapped, dim=1) * weights.unsqueeze(2)).sum(1)

    def distance(self, student_out: Outputs, answer: Tensor) -> Tensor:
        """(B,) of the student's feature to the answer as it stands."""
        return mse(state(self.read, student_out), standardize(answer))

    def usefulness(self, answer: Tensor, labels: Tensor) -> Tensor:
        """0-d: how wrong a linear head is that reads the answer alone; by it the answer maps learn."""
        return label_cross_entropy(self.head(standardize(answer)), labels).mean()


def state(read: Side, student_out: Outputs) -> Tensor:
    """The student's pooled feature (B, D), standardized over channels, with its gradient."""
    return standardize(read.pooled(student_out.features))
