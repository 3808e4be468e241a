"""Samples of a class together, of others apart, in the student's own features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Layout

if TYPE_CHECKING:
    from stillhouse.signals.contrastive import ContrastiveSignal


@configclass
class ContrastiveConfig:
    """Supervised contrastive loss on one feature of the student; of mixed images as much together as their labels are.

    Source: Khosla et al. 2020, arXiv:2004.11362.
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["contrastive"] = "contrastive"
    place: str = Field(min_length=1, description="path of the student's sub-module whose output is compared")
    layout: Layout = Field(default="auto", description="axes of that output; auto: by their number")
    pool: Literal["mean", "first"] = Field(default="mean", description="over positions, or the first token alone")
    temperature: float = Field(default=0.1, gt=0, description="divides the cosines")
    weight: float = Field(default=0.1, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        if self.pool == "first" and self.layout not in {"auto", "tokens"}:
            raise ValueError(f"pool: 'first' takes the first token, but layout is {self.layout!r}")

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return (self.place,)

    def build(self, student: OutputSpec, teacher: OutputSpec | None = None) -> ContrastiveSignal:
        """The signal; the teacher, if there is one, is not heard."""
        from stillhouse.signals.contrastive import ContrastiveSignal

        return ContrastiveSignal(self, student)
