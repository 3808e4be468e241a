"""How much each of several teachers counts, learned from the student's state.

What is learned here is trained by the labels, never by the distillation loss, which would choose the teacher that is nearest to
the student. Shapes: B batch, D width of the student's feature, K classes, n teachers, E width of a teacher's embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.losses import label_cross_entropy, mse
from stillhouse.losses.values import wide
from stillhouse.signals.bridges import Side


class WeighingModule(nn.Module, ABC):
    """A rule for weights that is learned; a `WeightsFn`."""

    @abstractmethod
    def forward(self, student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
        """(B, n), with a gradient to what is learned here only."""

    @abstractmethod
    def weighing(self) -> list[nn.Parameter]:
        """What decides the weights: learned at a rate of its own."""


class LearnedWeights(WeighingModule):
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


class DiverseWeights(WeighingModule):
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
        teachers: n.
        width: E.

    Raises:
        InputError: features that are not there, or not one of each teacher.

    Source: Liu et al. 2024, arXiv:2402.14035 (DiverseDistill).
    """

    def __init__(
        self,
        read: Side,
        answers: Sequence[str],
        student: OutputSpec,
        teacher: OutputSpec,
        teachers: int,
        width: int = 32,
    ) -> None:
        super().__init__()
        if answers and [path.partition(":")[0] for path in answers] != [str(i) for i in range(teachers)]:
            wanted = ", ".join(f"'{i}:...'" for i in range(teachers))
            raise InputError(f"answers: expected one feature a teacher in order, {wanted}, got {', '.join(answers)}")
        self.read, self.width = read, width
        self.sources = [Side.of("teacher", path, teacher) for path in answers]
        widths = [source.width for source in self.sources] or [teacher.num_classes] * teachers
        self.question = nn.Linear(read.width, width)
        self.embedding = nn.Parameter(torch.zeros(teachers, width))
        self.answer_maps = nn.ModuleList(nn.Linear(size, read.width) for size in widths)
        self.head = nn.Linear(read.width, student.num_classes)

    def forward(self, student_out: Outputs, members: Sequence[Outputs], labels: Tensor) -> Tensor:
        """(B, n), with a gradient to what is learned here only."""
        question = self.question(state(self.read, student_out).detach())
        return torch.softmax(question @ self.embedding.T / math.sqrt(self.width), dim=1)

    def weighing(self) -> list[nn.Parameter]:
        """What decides the weights: learned at a rate of its own."""
        return [self.embedding, *self.question.parameters()]

    def answer(self, features: Mapping[str, Tensor], members: Sequence[Outputs], weights: Tensor) -> Tensor:
        """(B, D): the teachers' weighted answer, in the student's width."""
        given = [read.pooled(features) for read in self.sources] or [wide(member.logits) for member in members]
        mapped = [a(_standardized(x.detach())) for a, x in zip(self.answer_maps, given)]
        return (torch.stack(mapped, dim=1) * weights.unsqueeze(2)).sum(1)

    def distance(self, student_out: Outputs, answer: Tensor) -> Tensor:
        """(B,) of the student's feature to the answer as it stands."""
        return mse(state(self.read, student_out), _standardized(answer))

    def usefulness(self, answer: Tensor, labels: Tensor) -> Tensor:
        """0-d: how wrong a linear head is that reads the answer alone; by it the answer maps learn."""
        return label_cross_entropy(self.head(_standardized(answer)), labels).mean()


def state(read: Side, student_out: Outputs) -> Tensor:
    """The student's pooled feature (B, D), standardized over channels, with its gradient."""
    return _standardized(read.pooled(student_out.features))


def _standardized(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:])
