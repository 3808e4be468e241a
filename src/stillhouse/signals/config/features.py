"""How hidden features are matched, one place of the student to one of the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.config import configclass
from stillhouse.types import OutputSpec

if TYPE_CHECKING:
    from stillhouse.signals.features import FeatureSignal

Layout = Literal["auto", "vector", "tokens", "nchw", "nhwc"]


@configclass
class FeaturesConfig:
    """Match the output of a student's sub-module to that of a teacher's, through a learned projector.

    Outputs are (D), tokens (N, D), maps (D, H, W), or (H, W, D) where the layout says `nhwc`: three axes alone cannot tell.
    With `pool: mean` every position counts, a class token too. With `pool: none` positions are joined one by one: as many
    on both sides, or grids averaged down to the smaller one, a leading class token left out (17 tokens are 4 x 4 and one).

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """

    kind: Literal["features"] = "features"
    student: str = Field(min_length=1, description="path of the student's sub-module, as blocks.1")
    teacher: str = Field(min_length=1, description="path of the teacher's sub-module, as layer3")
    distance: Literal["mse", "cosine", "smooth-l1"] = Field(default="mse", description="how features are compared")
    projector: Literal["linear", "none"] = Field(
        default="linear", description="map from the student's width to the teacher's"
    )
    pool: Literal["mean", "none"] = Field(
        default="mean", description="average over positions, or join position by position"
    )
    normalize: bool = Field(
        default=True, description="standardize both sides over channels, so the teacher's scale sets no weight"
    )
    student_layout: Layout = Field(default="auto", description="axes of the student's output; auto: by their number")
    teacher_layout: Layout = Field(default="auto", description="axes of the teacher's output; auto: by their number")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def student_features(self) -> tuple[str, ...]:
        """Path to tap in the student."""
        return (self.student,)

    def teacher_features(self) -> tuple[str, ...]:
        """Path to tap in the teacher."""
        return (self.teacher,)

    def build(self, student: OutputSpec, teacher: OutputSpec) -> FeatureSignal:
        """The signal; names and shapes are resolved here, before any training."""
        from stillhouse.signals.features import FeatureSignal

        return FeatureSignal(self, student, teacher)
