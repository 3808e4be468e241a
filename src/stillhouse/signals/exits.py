"""Small classifiers at places of the student: exits that learn, probes that measure, and a second head.

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from stillhouse.core.checks import InputError, same_shape
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.divergence import forward_kl, target_enhanced_kl
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.losses.softened import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.signals.bridges import LAYOUT_HELP, Layout, Side


@configclass
class _PlacesConfig(SignalBase):
    """Places of the student alone."""

    places: tuple[str, ...] = Field(min_length=1, description="paths of the student's modules that get a classifier")
    layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("student"))

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"places: expected each path once, got {', '.join(self.places)}")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.places


class _Exits(Signal):
    """Exits at some places: mean over positions, standardized channels, a linear map.

    LayerNorm, not BatchNorm: an exit that is read in training and left out at export must not keep statistics of its own.
    """

    def __init__(self, name: str, config: Any, student: OutputSpec) -> None:
        super().__init__(name, config.weight)
        self.config = config
        self.reads = [Side.of("student", path, student, config.layout) for path in config.student_paths]
        self.exits = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(read.width), nn.Linear(read.width, student.num_classes)) for read in self.reads
        )

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) of every exit by path, for early exits: `student_out` needs the tapped features."""
        return {read.path: stop(read.pooled(student_out.features)) for read, stop in zip(self.reads, self.exits)}


@configclass
class ExitsConfig(_PlacesConfig):
    """Be your own teacher: classifiers at intermediate places learn from the labels and from the student's own last scores.

    Sum over exits i of (1 - alpha) CE(labels, exit i) + alpha T^2 KL(last || exit i). The last scores are held fixed in it; they
    learn from the labels as ever. Needs no teacher. As published, alpha is 0.1 and T is 3; the distillation term is a KL (same
    gradient as the published cross-entropy, but 0 at its best), and the published hint of features (factor 1e-6) is left out.

    Source: Zhang et al. 2019, arXiv:1905.08094 (Be Your Own Teacher).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["exits"] = "exits"
    alpha: float = Field(default=0.1, ge=0, le=1, description="share of the last scores against the labels")
    temperature: float = Field(default=3.0, gt=0, description="softens both sides; the loss is multiplied by T^2")


class ExitSignal(_Exits, of=ExitsConfig):
    """Loss of all exits, summed; (B,) unweighted. What a teacher puts out is not read.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: ExitsConfig, student: OutputSpec, teacher: OutputSpec | None = None) -> None:
        super().__init__(config.name or "exits", config, student)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        config, teacher = self.config, student_out.logits.detach()
        total = torch.zeros(len(teacher), device=teacher.device)
        for logits in self.exit_logits(student_out).values():
            total = total + (1 - config.alpha) * label_cross_entropy(logits, batch.targets)
            if config.alpha > 0:
                total = total + config.alpha * forward_kl(logits, teacher, temperature=config.temperature)
        return total


@configclass
class OfaConfig(_PlacesConfig):
    """One for all: stages of the student are projected to class scores by small exits, and each learns the teacher's scores.

    Features of unlike architectures live in unlike spaces; class scores are the one space that both share, and projecting to
    it drops what is of the architecture. Sum over exits of `target_enhanced_kl`; the last scores are taught by `logits`, with
    `loss: ofa` as published. The exits are dropped with the teacher. As published gamma is 1 to 1.6 by the pair, weight 1;
    exits there are convolutions or attention of the student's kind, here a norm of the mean over positions and a linear map.

    Source: Hao et al. 2023, arXiv:2310.19444 (OFA-KD).
    """

    kind: Literal["ofa"] = "ofa"
    gamma: float = Field(default=1.4, ge=1, description="exponent of the enhancement; 1 is the plain KL")
    temperature: float = Field(default=1.0, gt=0, description="softens both sides; the loss is multiplied by T^2")

    @property
    def reads_one_label(self) -> bool:
        """True: the enhancement is at the label."""
        return True


class OfaSignal(_Exits, of=OfaConfig):
    """Loss of all exits, summed; (B,) unweighted.

    Raises:
        InputError: unlike class counts, a teacher of which only the largest scores are kept, a path that is not among the
            student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: OfaConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"ofa:{'+'.join(config.places)}", config, student)
        check_classes(self.name, student, teacher)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        settings = {"gamma": self.config.gamma, "temperature": self.config.temperature}
        scores = self.exit_logits(student_out).values()
        found = [target_enhanced_kl(x, teacher_out.logits, batch.labels, **settings) for x in scores]
        return torch.stack(found).sum(dim=0)


@configclass
class ProbesConfig(_PlacesConfig):
    """A linear classifier at each place, trained on detached features: its accuracy shows what is known there.

    With a weight, the same classifiers are auxiliary heads too: their loss then reaches the student, but not themselves, so
    that the measurement does not depend on the weight. Needs no teacher.

    Source: Alain, Bengio 2016, arXiv:1610.01644 (probes); Lee et al. 2015, arXiv:1409.5185 (auxiliary heads).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["probes"] = "probes"
    heads: tuple[int, ...] = Field(
        default=(),
        description="one number a place: a read-out for each of so many equal parts (attention heads); none: one a place",
    )
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of their cross-entropy")
    weight: float = Field(default=0.0, ge=0, description="factor of their loss on the student; 0: only measured")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads and (len(self.heads) != len(self.places) or min(self.heads) < 1):
            raise ValueError(
                f"heads: expected one number above 0 for each of {len(self.places)} places, got {self.heads}"
            )


class ProbeSignal(Signal, of=ProbesConfig):
    """Mean cross-entropy of the places' read-outs; (B,) unweighted, named `aux_loss`. What a teacher puts out is not read.

    The value reaches the student and not the read-outs; these learn from the regularizer `probes`, on detached features.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    always: ClassVar[bool] = True  # read-outs learn, and are scored, at weight 0 too

    def __init__(self, config: ProbesConfig, student: OutputSpec, teacher: OutputSpec | None = None) -> None:
        super().__init__(config.name or "aux_loss", config.weight)
        self.config, parts = config, config.heads or (1,) * len(config.places)
        self.reads = [(Side.of("student", p, student, config.layout), n) for p, n in zip(config.places, parts)]
        for read, count in self.reads:
            if read.width % count:
                raise InputError(
                    f"probes: expected a number of heads that divides the width {read.width} of {read.path!r}, got {count}"
                )
        widths = [read.width // count for read, count in self.reads for _ in range(count)]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, student.num_classes))
            for width in widths
        )
        self._readout_loss: Tensor | None = None

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) mean over the places, for the student alone."""
        pooled = self._pooled(student_out)
        self._readout_loss = self._loss([x.detach() for x in pooled.values()], batch, frozen=False).mean()
        with torch.set_grad_enabled(self.weight > 0 and torch.is_grad_enabled()):
            return self._loss(pooled.values(), batch, frozen=True)

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What the read-outs themselves learn from; no gradient of it reaches the student."""
        return {} if self._readout_loss is None else {"probes": (1.0, self._readout_loss)}

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) at every place by path, of parts as `PATH#head1`, `PATH#head2`, ..."""
        return {name: head(x) for (name, x), head in zip(self._pooled(student_out).items(), self.heads)}

    def _pooled(self, student_out: Outputs) -> dict[str, Tensor]:
        """(B, D) by name."""
        found = {}
        for read, count in self.reads:
            parts = read.pooled(student_out.features).chunk(count, dim=1)
            for number, x in enumerate(parts, start=1):
                found[f"{read.path}#head{number}" if self.config.heads else read.path] = x
        return found

    def _loss(self, pooled: Iterable[Tensor], batch: Batch, *, frozen: bool) -> Tensor:
        total = torch.zeros(len(batch.labels), device=batch.labels.device)
        for x, head in zip(pooled, self.heads):
            fixed = {name: p.detach() for name, p in head.named_parameters()}
            logits = functional_call(head, fixed, (x,)) if frozen else head(x)
            total = total + label_cross_entropy(logits, batch.targets, smoothing=self.config.smoothing)
        return total / len(self.heads)


@configclass
class DualHeadConfig(SignalBase):
    """An auxiliary linear head learns the teacher's scores, the student's own head the labels alone; both shape the body.

    A loss on single scores and the cross-entropy pull one linear classifier in contradicting directions, though not the
    body below it. The auxiliary head is left out at export. Do not add a signal `logits` beside it: that would
    bring the teacher back to the main head. `student` is the input of the main head (the last pooled feature).

    Source: Yang et al. 2024, arXiv:2411.08937 (Dual-Head Knowledge Distillation).
    """

    kind: Literal["dual-head"] = "dual-head"
    student: str = Field(min_length=1, description="path of the student's sub-module that the second head reads")
    student_layout: Layout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")


def binary_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 times KL(1/2 || sigma((z_s - z_t)/T)) of each class, summed over classes: scores themselves are matched.

    A softmax does not see a constant added to all scores; this does, and its gradient depends on the gap alone, so it does not
    vanish where the sigmoids of both sides are flat. Begin with a weight well below 1 where there are many classes.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K); gets no gradient. A class that it rules out (-inf) adds nothing.
        temperature: a positive number.

    Returns:
        (B,) in nats times T^2. Gradient in the student's logits: T (sigma((z_s - z_t)/T) - 1/2).

    Raises:
        InputError: shapes differ.

    Example:
        A gap of ln 3, sigma = 3/4: 1/2 ln (1/2)/(3/4) + 1/2 ln (1/2)/(1/4) = 0.1438.

        >>> round(binary_kl(torch.tensor([[3.0]]).log(), torch.zeros(1, 1)).item(), 4)
        0.1438

    Source: Yang et al. 2024, arXiv:2411.08937.
    """
    same_shape("teacher logits", tuple(teacher_logits.shape), tuple(student_logits.shape))
    s, t = wide(student_logits), wide(teacher_logits.detach())
    ruled_out = (t == -math.inf) & ~s.isnan()  # a student's NaN must stay one
    gap = ((s - t) / temperature).masked_fill(ruled_out, 0.0)
    both = nn.functional.logsigmoid(gap) + nn.functional.logsigmoid(-gap)
    return (-math.log(2) - 0.5 * both).sum(1) * temperature**2


class DualHeadSignal(Signal, of=DualHeadConfig):
    """Distance of the auxiliary head's scores to the teacher's; (B,) unweighted. The student's own logits are not read.

    Raises:
        InputError: class counts differ, a path that is not there, or axes that cannot be read.
    """

    def __init__(self, config: DualHeadConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or "dual-head", config.weight)
        check_classes(self.name, student, teacher)
        self.config = config
        self.read = Side.of("student", config.student, student, config.student_layout)
        self.head = nn.Linear(self.read.width, student.num_classes)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        logits = self.head(self.read.pooled(student_out.features))
        return binary_kl(logits, teacher_out.logits, temperature=self.config.temperature)
