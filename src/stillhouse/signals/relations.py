"""Relations between samples, in place of their features: matched to a teacher's, or set by the labels.

Shapes: B batch, N positions, R rows compared, S and D widths of the two sides, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import cka_loss, kernel_alignment_loss
from stillhouse.losses.neighbours import contrastive_distillation, supervised_contrastive
from stillhouse.losses.relations import pearson_of_distances, pkt, rkd_angle, rkd_distance, similarity_preserving
from stillhouse.signals.base import BatchSignal, Signal, SignalBase
from stillhouse.signals.bridges import Layout, PlacesConfig, Pool, Side, drawn
from stillhouse.signals.features import projector_for

ROWS, TRIPLES = 1024, 200_000  # of a batch at most, drawn anew each step
ANGLE_WEIGHT = 2.0  # published weights of distances and angles beside a label loss: 25 and 50
RelationName = Literal[
    "rkd-distance",
    "rkd-angle",
    "rkd",
    "similarity-preserving",
    "pkt",
    "pearson",
    "cka",
    "kernel-alignment",
    "contrastive",
]


class Relation(NamedTuple):
    """How the rows of two sides are compared.

    Attributes:
        function: (R, S) and (R, D), in the same order (and the step) -> 0-d, or (R,).
        least: rows; with two, all that most relations compare is fixed by the scale.
        directions: whether rows of one channel, which have two directions, mean nothing to it.
        drawn: whether it is a sample, drawn by the step.
    """

    function: Callable[..., Tensor]
    least: int = 3
    directions: bool = False
    drawn: bool = False


def _angles(student: Tensor, teacher: Tensor, step: int) -> Tensor:
    return rkd_angle(student, teacher, triples=TRIPLES, generator=torch.Generator().manual_seed(step))


def _rkd(student: Tensor, teacher: Tensor, step: int) -> Tensor:
    return rkd_distance(student, teacher) + ANGLE_WEIGHT * _angles(student, teacher, step)


RELATIONS: dict[RelationName, Relation] = {
    "rkd-distance": Relation(rkd_distance),
    "rkd-angle": Relation(_angles, directions=True, drawn=True),
    "rkd": Relation(_rkd, drawn=True),
    "similarity-preserving": Relation(similarity_preserving),
    "pkt": Relation(pkt, directions=True),
    "pearson": Relation(pearson_of_distances),
    "cka": Relation(cka_loss, least=4),  # the unbiased products divide by R - 3
    "kernel-alignment": Relation(kernel_alignment_loss, least=2),
    "contrastive": Relation(contrastive_distillation, least=2, directions=True),
}


@configclass
class RelationsConfig(PlacesConfig):
    """Match how samples of a batch lie to each other in a student's and a teacher's features, of any two widths.

    `rkd` is the distances plus twice the angles (the published 25 : 50). `cka` compares whole arrangements, `pkt` whom each
    sample is near to. `contrastive` alone has a learned projector: each student feature must
    find its own sample's teacher feature. With `pool: none` the positions of all samples are the rows, drawn anew each step
    where they are many. A relation needs 2 to 4 rows: a smaller last batch of an epoch is left out and counted, a run of none
    but such is refused.

    Source: for each relation see its function in `stillhouse.losses.relations`, `.cka` and `.contrastive`.
    """

    kind: Literal["relations"] = "relations"
    relation: RelationName = Field(default="rkd", description="what is compared")
    pool: Pool = Field(
        default="mean", description="a sample is the mean of its positions, its class token, or every position is a row"
    )

    @property
    def compares_samples(self) -> bool:
        """It does nothing else."""
        return True


class RelationSignal(BatchSignal, of=RelationsConfig):
    """A relation of the student's rows against the teacher's; 0-d unweighted.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, a relation of angles in one channel, or batches
            that are all too small.
    """

    def __init__(self, config: RelationsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        rows = "" if config.pool == "mean" else f":{config.pool}"
        super().__init__(config.name or f"relations:{config.relation}{rows}:{config.between}", config.weight)
        self.config, self.relation = config, RELATIONS[config.relation]
        self.bridge = config.bridge((config.student, config.teacher), (student, teacher), pool=config.pool)
        learned = config.relation == "contrastive"
        if self.relation.directions and (self.bridge.teacher_side if learned else self.bridge.student_side).width < 2:
            raise InputError(
                f"{self.bridge}: relation {config.relation} compares directions, and one channel has its sign alone; take "
                "rkd-distance"
            )
        self.projector = projector_for(self.bridge, "linear") if learned else nn.Identity()

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """0-d relation of the batch; 0 for a last batch that is too small."""
        student, teacher = self.bridge.student(student_out.features), self.bridge.teacher(teacher_out.features)
        # the same positions of both, drawn by the step, so that resume draws alike
        student, teacher = drawn(student, teacher, ROWS if self.config.pool == "none" else None, progress.step)
        if self.too_few(len(student), self.relation.least, progress):
            return student.sum() * 0.0  # with a graph, since it may be the only term
        if self.config.relation in ("cka", "kernel-alignment"):
            # their products are Hermitian: a common phase must not count
            student, teacher = _complex(student, self.bridge.student_side), _complex(teacher, self.bridge.teacher_side)
        step = (progress.step,) if self.relation.drawn else ()
        return self.relation.function(self.projector(student), teacher, *step).mean()


def _complex(rows: Tensor, side: Side) -> Tensor:
    """Pairs of real numbers as the complex ones that they were; real rows as they are."""
    return torch.view_as_complex(rows.unflatten(1, (-1, 2)).contiguous()) if side.is_complex else rows


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
