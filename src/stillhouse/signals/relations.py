"""Relations between samples, in place of their features.

Shapes: B batch, N positions, R rows compared, S and D widths of the two sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import cka_loss, contrastive_distillation, kernel_alignment_loss, pkt, similarity_preserving
from stillhouse.losses.relations import pearson_of_distances, rkd_angle, rkd_distance
from stillhouse.signals.base import BatchSignal
from stillhouse.signals.bridges import PlacesConfig, Pool, Side, drawn
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
        function: (R, S) and (R, D), in the same order -> 0-d, or (R,).
        least: rows; with two, all that most relations compare is fixed by the scale.
        directions: whether rows of one channel, which have two directions, mean nothing to it.
    """

    function: Callable[[Tensor, Tensor, int], Tensor]
    least: int = 3
    directions: bool = False


def _angles(student: Tensor, teacher: Tensor, step: int) -> Tensor:
    return rkd_angle(student, teacher, triples=TRIPLES, generator=torch.Generator().manual_seed(step))


def _rkd(student: Tensor, teacher: Tensor, step: int) -> Tensor:
    return rkd_distance(student, teacher) + ANGLE_WEIGHT * _angles(student, teacher, step)


def _drawn_by_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    return lambda student, teacher, step: loss(student, teacher)


RELATIONS: dict[RelationName, Relation] = {
    "rkd-distance": Relation(_drawn_by_nothing(rkd_distance)),
    "rkd-angle": Relation(_angles, directions=True),
    "rkd": Relation(_rkd),
    "similarity-preserving": Relation(_drawn_by_nothing(similarity_preserving)),
    "pkt": Relation(_drawn_by_nothing(pkt), directions=True),
    "pearson": Relation(_drawn_by_nothing(pearson_of_distances)),
    "cka": Relation(_drawn_by_nothing(cka_loss), least=4),  # the unbiased products divide by R - 3
    "kernel-alignment": Relation(_drawn_by_nothing(kernel_alignment_loss), least=2),
    "contrastive": Relation(_drawn_by_nothing(contrastive_distillation), least=2, directions=True),
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
        if self.too_few(len(student), self.relation.least):
            return student.sum() * 0.0  # with a graph, since it may be the only term
        if self.config.relation in ("cka", "kernel-alignment"):
            # their products are Hermitian: a common phase must not count
            student, teacher = _complex(student, self.bridge.student_side), _complex(teacher, self.bridge.teacher_side)
        value = self.relation.function(self.projector(student), teacher, progress.step).mean()
        self.seen.fill_(True)
        return value


def _complex(rows: Tensor, side: Side) -> Tensor:
    """Pairs of real numbers as the complex ones that they were; real rows as they are."""
    return torch.view_as_complex(rows.unflatten(1, (-1, 2)).contiguous()) if side.is_complex else rows
