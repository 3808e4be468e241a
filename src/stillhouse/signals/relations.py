"""Relations between samples, in place of their features.

Shapes: B batch, N positions, R rows compared, S and D widths of the two sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import Beside, configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import cka_loss, kernel_alignment_loss
from stillhouse.losses.contrastive import contrastive_distillation
from stillhouse.losses.relations import (
    gram_mse,
    pearson_of_distances,
    pkt,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from stillhouse.signals.base import Signal, options
from stillhouse.signals.bridges import PlacesConfig, Side, drawn
from stillhouse.signals.projectors import ProjectorKind, build_projector

ROWS, TRIPLES = 1024, 200_000
ANGLE_WEIGHT = 2.0  # published weights of distances and angles beside a label loss: 25 and 50

# ---------------------------------------------------------------------------------------------- relations


class RelationLoss:
    """How the rows of two sides are compared: (R, S) against (R, D), in the same order, by a function of `losses`."""

    function: ClassVar[Callable[..., Tensor]]
    least: ClassVar[int] = 3  # rows: with two, all that there is to compare is fixed by the scale
    directions: ClassVar[bool] = False  # whether rows of one channel, which have two directions, mean nothing to it

    def __call__(self, student: Tensor, teacher: Tensor, step: int) -> Tensor:
        """0-d, or (R,); what is drawn is drawn by the step, so that a resume draws alike."""
        return type(self).function(student, teacher, **options(self, "projector"))

    def sees_directions_alone(self) -> bool:
        """Whether rows of one channel mean nothing to it."""
        return self.directions

    def build_projector(self, student_width: int, teacher_width: int) -> nn.Module:
        """A map of the student's rows, where the relation has one."""
        return nn.Identity()


@configclass
class RKDDistance(RelationLoss):
    """Distances of all pairs."""

    function = staticmethod(rkd_distance)
    kind: Literal["rkd-distance"] = "rkd-distance"


@configclass
class RKDAngle(RelationLoss):
    """Angles of triples."""

    directions = True
    kind: Literal["rkd-angle"] = "rkd-angle"
    triples: int = Field(default=TRIPLES, gt=0, description="most angles of a batch, drawn anew each step")

    def __call__(self, student: Tensor, teacher: Tensor, step: int) -> Tensor:
        """0-d."""
        return rkd_angle(student, teacher, triples=self.triples, generator=torch.Generator().manual_seed(step))


@configclass
class RKD(RelationLoss):
    """Distances plus twice the angles."""

    kind: Literal["rkd"] = "rkd"
    triples: int = Field(default=TRIPLES, gt=0, description="most angles of a batch, drawn anew each step")

    def __call__(self, student: Tensor, teacher: Tensor, step: int) -> Tensor:
        """0-d."""
        angles = RKDAngle(triples=self.triples)(student, teacher, step)
        return rkd_distance(student, teacher) + ANGLE_WEIGHT * angles


@configclass
class SimilarityPreserving(RelationLoss):
    """Normalized inner products of all pairs."""

    function = staticmethod(similarity_preserving)
    kind: Literal["similarity-preserving"] = "similarity-preserving"


@configclass
class Gram(RelationLoss):
    """Inner products of all pairs, scale and all."""

    function = staticmethod(gram_mse)
    least = 2  # one product is something
    kind: Literal["gram"] = "gram"
    sphere: bool = Field(default=False, description="cosines in place of centered products")

    def sees_directions_alone(self) -> bool:
        """On the sphere."""
        return self.sphere


@configclass
class PKT(RelationLoss):
    """Whom each sample is near to, as a distribution."""

    function = staticmethod(pkt)
    directions = True
    kind: Literal["pkt"] = "pkt"


@configclass
class Pearson(RelationLoss):
    """Correlation of the distances of all pairs."""

    function = staticmethod(pearson_of_distances)
    kind: Literal["pearson"] = "pearson"


@configclass
class KernelAlignment(RelationLoss):
    """Whole arrangements by the plain formula: Gram matrices as they are, neither centered nor unbiased."""

    function = staticmethod(kernel_alignment_loss)
    least = 2  # one row is alike to any other
    kind: Literal["kernel-alignment"] = "kernel-alignment"


@configclass
class CKA(RelationLoss):
    """Whole arrangements (centered kernel alignment); `kernel-alignment` is the formula without centering."""

    function = staticmethod(cka_loss)
    least = 4  # the unbiased products divide by R - 3
    kind: Literal["cka"] = "cka"


@configclass
class Contrastive(RelationLoss):
    """Each student row must find its own sample's teacher row among all."""

    function = staticmethod(contrastive_distillation)
    least, directions = 2, True  # one other row
    kind: Literal["contrastive"] = "contrastive"
    temperature: float = Field(default=0.1, gt=0, description="divides the cosines")
    symmetric: bool = Field(default=False, description="teacher features must find the student's too")
    projector: ProjectorKind = Field(default="linear", description="map from the student's width to the teacher's")

    def build_projector(self, student_width: int, teacher_width: int) -> nn.Module:
        """Learned with the student."""
        return build_projector(self.projector, student_width, teacher_width)


AnyRelation = (
    RKDDistance | RKDAngle | RKD | SimilarityPreserving | Gram | PKT | Pearson | CKA | KernelAlignment | Contrastive
)

# ---------------------------------------------------------------------------------------------- signal


@configclass
class RelationsConfig(PlacesConfig):
    """Match how samples of a batch lie to each other in a student's and a teacher's features, of any two widths.

    `rkd` is the distances plus twice the angles (the published 25 : 50). `cka` compares whole arrangements, `pkt` whom each
    sample is near to, `gram` products, scale and all. `contrastive` alone has a learned projector: each student feature must
    find its own sample's teacher feature. With `pool: none` the positions of all samples are the rows, drawn anew each step
    where they are many. A relation needs 2 to 4 rows: a smaller last batch of an epoch is left out and counted, a run of none
    but such is refused.

    Source: for each relation see its function in `stillhouse.losses.relations`, `.cka` and `.contrastive`.
    """

    kind: Literal["relations"] = "relations"
    relation: Annotated[AnyRelation, Beside()] = Field(
        default=RKD(), discriminator="kind", description="what is compared"
    )
    pool: Literal["mean", "first", "none"] = Field(
        default="mean", description="a sample is the mean of its positions, its class token, or every position is a row"
    )
    rows: int | None = Field(
        default=None, ge=4, description="pool none: most positions of a batch, drawn anew each step [1024]"
    )

    def __post_init__(self) -> None:
        if self.rows is not None and self.pool != "none":
            raise ValueError(f"rows: does nothing under pool {self.pool!r}; leave it out, or take 'none'")

    @property
    def compares_samples(self) -> bool:
        """It does nothing else."""
        return True


class RelationSignal(Signal, of=RelationsConfig):
    """A relation of the student's rows against the teacher's; 0-d unweighted.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, a relation of angles in one channel, or batches
            that are all too small.
    """

    seen: Tensor

    def __init__(self, config: RelationsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        rows = "" if config.pool == "mean" else f":{config.pool}"
        between = f"relations:{config.relation.kind}{rows}:{config.between}"
        super().__init__(config.name or between, config.weight)
        self.config, self.relation = config, config.relation
        self.bridge = config.bridge((config.student, config.teacher), (student, teacher), pool=config.pool)
        widths = self.bridge.student_side.width, self.bridge.teacher_side.width
        compared = widths[1] if isinstance(self.relation, Contrastive) else widths[0]
        if compared < 2 and self.relation.sees_directions_alone():
            raise InputError(
                f"{self.bridge}: relation {self.relation.kind} compares directions, and one channel has its sign alone; "
                "take rkd-distance"
            )
        self.projector = config.relation.build_projector(*widths)
        self.skipped = 0
        # travels with a checkpoint: a run that is resumed at the small last batch of an epoch must not take it for the first
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """0-d relation of the batch; 0 for a last batch that is too small."""
        student, teacher = self._rows(student_out, teacher_out, progress.step)
        if len(student) < self.relation.least and self.seen:
            self.skipped += 1
            return student.sum() * 0.0  # with a graph, since it may be the only term
        value = self.relation(self.projector(student), teacher, progress.step).mean()
        self.seen.fill_(True)
        return value

    def figures(self) -> dict[str, float]:
        """Batches that were too small, where there were any."""
        return {"skipped": float(self.skipped)} if self.skipped else {}

    def _rows(self, student_out: Outputs, teacher_out: Outputs, step: int) -> tuple[Tensor, Tensor]:
        """(R, S) and (R, D): the same positions of both, drawn by the step where they are many, so that resume draws alike."""
        student, teacher = self.bridge.student(student_out.features), self.bridge.teacher(teacher_out.features)
        most = (self.config.rows or ROWS) if self.config.pool == "none" else None
        student, teacher = drawn(student, teacher, most, step)
        if isinstance(self.relation, (CKA, KernelAlignment)):
            # their products are Hermitian: a common phase must not count
            student, teacher = _complex(student, self.bridge.student_side), _complex(teacher, self.bridge.teacher_side)
        return student, teacher


def _complex(rows: Tensor, side: Side) -> Tensor:
    """Pairs of real numbers as the complex ones that they were; real rows as they are."""
    return torch.view_as_complex(rows.unflatten(1, (-1, 2)).contiguous()) if side.is_complex else rows
