"""The teacher's scores at every stage of a student of another kind (OFA-KD).

Shapes: B batch, D width, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import target_enhanced_kl
from stillhouse.signals.base import Signal, SignalBase, check_classes
from stillhouse.signals.bridges import LAYOUT_HELP, Side, SideLayout


@configclass
class OfaConfig(SignalBase):
    """One for all: stages of the student are projected to class scores by small exits, and each learns the teacher's scores.

    Features of unlike architectures live in unlike spaces; class scores are the one space that both share, and projecting to
    it drops what is of the architecture. Sum over exits of `target_enhanced_kl`; the last scores are taught by `logits`, with
    `loss: ofa` as published. The exits are dropped with the teacher. As published gamma is 1 to 1.6 by the pair, weight 1;
    exits there are convolutions or attention of the student's kind, here a norm of the mean over positions and a linear map,
    or with `hidden` a layer of that width between.

    Source: Hao et al. 2023, arXiv:2310.19444 (OFA-KD).
    """

    kind: Literal["ofa"] = "ofa"
    places: tuple[str, ...] = Field(min_length=1, description="paths of the student's sub-modules that get an exit")
    layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    gamma: float = Field(default=1.4, ge=1, description="exponent of the enhancement; 1 is the plain KL")
    temperature: float = Field(default=1.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    hidden: int | None = Field(default=None, gt=0, description="width of a hidden layer of each exit [none]")

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"places: expected each path once, got {', '.join(self.places)}")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.places

    @property
    def reads_one_label(self) -> bool:
        """True: the enhancement is at the label."""
        return True


class OfaSignal(Signal, of=OfaConfig):
    """Loss of all exits, summed; (B,) unweighted.

    Raises:
        InputError: unlike class counts, a teacher of which only the largest scores are kept, a path that is not among the
            student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: OfaConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"ofa:{'+'.join(config.places)}", config.weight)
        self.config = config
        check_classes(self.name, student, teacher)
        self.reads = [Side.of("student", path, student, config.layout) for path in config.places]
        self.exits = nn.ModuleList(_exit(read.width, student.num_classes, config.hidden) for read in self.reads)
        self._last: tuple[dict[str, Tensor], Tensor] | None = None

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        settings = {"gamma": self.config.gamma, "temperature": self.config.temperature}
        scores = self.exit_logits(student_out)
        self._last = ({path: x.detach() for path, x in scores.items()}, batch.labels.detach())
        teacher = teacher_out.logits.detach()
        found = [target_enhanced_kl(x, teacher, batch.labels, **settings) for x in scores.values()]
        return torch.stack(found).sum(dim=0)

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) of every exit by path."""
        features = student_out.features
        return {read.path: stop(read.tokens(features[read.path]).mean(1)) for read, stop in zip(self.reads, self.exits)}

    def figures(self) -> dict[str, float]:
        """Accuracy of each exit on the last batch."""
        if self._last is None:
            return {}
        scores, labels = self._last
        return {f"accuracy_{path}": float((x.argmax(1) == labels).float().mean()) for path, x in scores.items()}


def _exit(width: int, classes: int, hidden: int | None) -> nn.Sequential:
    """LayerNorm, not BatchNorm: an exit that is left out at export must not keep statistics of its own."""
    if hidden is None:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, classes))
