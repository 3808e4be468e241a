"""Samples of a class together, of others apart, in the student's own features.

Shapes: B batch, N positions, D width, K classes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import supervised_contrastive
from stillhouse.signals.base import Signal, SignalBase
from stillhouse.signals.bridges import Layout, Side


@configclass
class ContrastiveConfig(SignalBase):
    """Supervised contrastive loss on one feature of the student; of mixed images as much together as their labels are.

    Source: Khosla et al. 2020, arXiv:2004.11362.
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["contrastive"] = "contrastive"
    place: str = Field(min_length=1, description="path of the student's sub-module whose output is compared")
    layout: Layout = Field(default="auto", description="axes of that output; auto: by their number")
    temperature: float = Field(default=0.1, gt=0, description="divides the cosines")
    weight: float = Field(default=0.1, ge=0, description="factor in the total loss")

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return (self.place,)

    @property
    def compares_samples(self) -> bool:
        """It does nothing else."""
        return True


class ContrastiveSignal(Signal, of=ContrastiveConfig):
    """`supervised_contrastive` of one feature of the student with the batch's labels, mixed or not; (B,) unweighted.

    A batch of one has nobody to compare with: its loss is 0.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    def __init__(self, config: ContrastiveConfig, student: OutputSpec, teacher: OutputSpec | None = None) -> None:
        super().__init__(config.name or "contrastive_loss", config.weight)
        self.config = config
        self.read = Side.of("student", config.place, student, config.layout)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        feature = self.read.pooled(student_out.features)
        if len(feature) < 2:
            return feature.sum(1) * 0.0
        return supervised_contrastive(feature, batch.targets, temperature=self.config.temperature)
