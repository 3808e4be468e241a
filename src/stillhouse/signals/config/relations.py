"""How relations between samples are matched, in place of their features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import LAYOUT_HELP, SideLayout

if TYPE_CHECKING:
    from stillhouse.signals.relations import RelationSignal

Relation = Literal[
    "rkd-distance",
    "rkd-angle",
    "rkd",
    "similarity-preserving",
    "gram",
    "pkt",
    "pearson",
    "cka",
    "contrastive",
]

# which relations read a setting: elsewhere it would be believed and do nothing
USED_BY: dict[str, tuple[str, ...]] = {
    "triples": ("rkd-angle", "rkd"),
    "center": ("similarity-preserving",),
    "sphere": ("gram",),
    "debiased": ("cka",),
    "temperature": ("contrastive",),
    "symmetric": ("contrastive",),
    "projector": ("contrastive",),
}


@configclass
class RelationsConfig:
    """Match how samples of a batch lie to each other in a student's and a teacher's features, of any two widths.

    `rkd` is the distances plus twice the angles (the published 25 : 50). `cka` compares whole arrangements, `pkt` whom each
    sample is near to, `gram` products, scale and all. `contrastive` alone has a learned projector: each student feature must
    find its own sample's teacher feature. With `pool: none` the positions of all samples are the rows, drawn anew each step
    where they are many. A relation needs 2 to 4 rows: a smaller last batch of an epoch is left out and counted, a run of none
    but such is refused.

    Source: for each relation see its function in `stillhouse.losses.relations`, `.cka` and `.contrastive`.
    """

    kind: Literal["relations"] = "relations"
    student: str = Field(min_length=1, description="path of the student's sub-module, as blocks.1")
    teacher: str = Field(min_length=1, description="path of the teacher's sub-module, as layer3")
    relation: Relation = Field(default="rkd", description="what is compared")
    pool: Literal["mean", "first", "none"] = Field(
        default="mean", description="a sample is the mean of its positions, its class token, or every position is a row"
    )
    rows: int | None = Field(
        default=None, ge=4, description="pool none: most positions of a batch, drawn anew each step [1024]"
    )
    triples: int | None = Field(
        default=None, gt=0, description="rkd-angle, rkd: most angles of a batch, drawn anew each step [200000]"
    )
    center: bool | None = Field(
        default=None, description="similarity-preserving: take the batch mean off first; published without [true]"
    )
    sphere: bool | None = Field(default=None, description="gram: cosines in place of centered products [false]")
    debiased: bool | None = Field(
        default=None, description="cka: unbiased products; without, small batches of wide features look alike [true]"
    )
    temperature: float | None = Field(default=None, gt=0, description="contrastive: divides the cosines [0.1]")
    symmetric: bool | None = Field(
        default=None, description="contrastive: teacher features must find the student's too [false]"
    )
    projector: Literal["linear", "mlp", "orthogonal", "none"] | None = Field(
        default=None, description="contrastive: map from the student's width to the teacher's [linear]"
    )
    student_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    teacher_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("teacher"))
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        for setting, relations in USED_BY.items():
            if getattr(self, setting) is not None and self.relation not in relations:
                raise ValueError(
                    f"{setting}: does nothing under relation {self.relation!r}; leave it out, or take "
                    f"{' or '.join(map(repr, relations))}"
                )
        if self.rows is not None and self.pool != "none":
            raise ValueError(f"rows: does nothing under pool {self.pool!r}; leave it out, or take 'none'")

    def student_features(self) -> tuple[str, ...]:
        """Path to tap in the student."""
        return (self.student,)

    def teacher_features(self) -> tuple[str, ...]:
        """Path to tap in the teacher."""
        return (self.teacher,)

    def build(self, student: OutputSpec, teacher: OutputSpec) -> RelationSignal:
        """The signal; names and shapes are resolved here, before any training."""
        from stillhouse.signals.relations import RelationSignal

        return RelationSignal(self, student, teacher)
