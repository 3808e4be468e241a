"""How hidden features are matched, one place of the student to one of the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec

if TYPE_CHECKING:
    from stillhouse.signals.features import FeatureSignal

Layout = Literal["auto", "vector", "tokens", "nchw", "nhwc"]
SideLayout = Literal[
    "auto",
    "vector",
    "tokens",
    "nchw",
    "nhwc",
    "sequence",  # (L, D), an ordered line
    "ncl",  # (D, L), as one-dimensional convolutions put it out
    "complex-vector",
    "complex-tokens",
    "complex-nchw",
    "complex-sequence",
    "complex-ncl",
    "tbd",  # spikes, time first, before the batch
    "tbnd",
    "tbchw",
    "btd",  # time after the batch
    "btnd",
    "btchw",
    "bdt",  # time last
    "bndt",
    "bchwt",
]
Distance = Literal["mse", "normalized-mse", "cosine", "smooth-l1"]
Pool = Literal["mean", "none", "auto", "first"]
Resize = Literal["average", "linear"]
LAYOUT_HELP = (
    "axes of the {}'s output; auto: by their number (D; N D; D H W). Also nhwc (H W D), sequence (L D) and ncl (D L) for "
    "lines of any length, complex-..., and spikes averaged over their time axis t: tbnd, btnd, bndt (b batch)"
)


@configclass
class FeaturesConfig:
    """Match the output of a student's sub-module to that of a teacher's, through a learned projector.

    Outputs are (D), tokens (N, D), maps (D, H, W), or what the layout says: three axes alone cannot on_progress (H, W, D).
    With `pool: mean` every position counts, a class token too; `first` takes the class token alone. With `pool: none`
    positions are joined one by one: as many on both sides, or grids resized, a leading class token left out (17 tokens are
    4 x 4 and one), or sequences of unlike length resized. `auto` is `none` where that can be, else `mean`.

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """

    kind: Literal["features"] = "features"
    student: str = Field(min_length=1, description="path of the student's sub-module, as blocks.1")
    teacher: str = Field(min_length=1, description="path of the teacher's sub-module, as layer3")
    distance: Distance = Field(default="mse", description="how features are compared")
    projector: Literal["linear", "mlp", "orthogonal", "none"] = Field(
        default="linear", description="map from the student's width to the teacher's"
    )
    initialize: Literal["default", "orthogonal", "least-squares"] = Field(
        default="default", description="how a linear projector starts; least-squares: fitted to the first batch"
    )
    pool: Pool = Field(default="mean", description="average over positions, or join position by position")
    resize: Resize = Field(
        default="average", description="unlike sizes: average both to the coarser, or linear, student's to teacher's"
    )
    normalize: bool = Field(
        default=True, description="standardize both sides over channels, so the teacher's scale sets no weight"
    )
    student_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("student"))
    teacher_layout: SideLayout = Field(default="auto", description=LAYOUT_HELP.format("teacher"))
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        check_settings(self.projector, self.initialize, self.pool, self.resize)

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


def check_settings(projector: str, initialize: str, pool: str, resize: str) -> None:
    """Refuse what would do nothing.

    Raises:
        ValueError: a start without a linear projector, or a way to resize what is averaged anyway.
    """
    if initialize != "default" and projector != "linear":
        raise ValueError(f"initialize: {initialize} does nothing with projector {projector}; it is for linear")
    if resize != "average" and pool in ("mean", "first"):
        raise ValueError(f"resize: {resize} does nothing with pool {pool}; it is for none and auto")
