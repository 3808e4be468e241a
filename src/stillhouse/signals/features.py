"""Hidden features between networks of unlike kinds, one place of the student to one of the teacher.

Shapes: B batch, N positions, S and D widths of student and teacher. Everything is brought to (B, N, D); a vector is one position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.regression import cosine_distance, mse, normalized_mse, smooth_l1
from stillhouse.signals.base import Signal
from stillhouse.signals.bridges import Bridge, PlacesConfig, Pool, standardize

ProjectorKind = Literal["linear", "mlp", "orthogonal", "none"]
Distance = Literal["mse", "normalized-mse", "cosine", "smooth-l1"]
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "normalized-mse": normalized_mse,
    "cosine": cosine_distance,
    "smooth-l1": smooth_l1,
}
PROJECTOR_HELP = "map from the student's width to the teacher's, learned along and dropped with the teacher"


def projector_for(bridge: Bridge, kind: ProjectorKind) -> nn.Module:
    """A projector (..., S) -> (..., D). Learned with the student, saved for resume, dropped at export.

    A strong projector can learn the teacher's features by itself: then the loss falls and the student's own features do
    not come nearer. `linear` is the usual compromise, `orthogonal` cannot bend the student's geometry at all.

    Args:
        bridge: whose widths S and D are joined.
        kind: linear; mlp (two layers, GELU between, as wide as the teacher); orthogonal (an isometry: W^T W = I, or W W^T = I
            where the teacher is narrower; no bias; it stays one through every optimizer step); none.

    Returns:
        A module; `nn.Identity` for none.

    Raises:
        InputError: widths differ and kind is none.

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets' regressor); Miles et al. 2024, arXiv:2403.06213 (orthogonal).
    """
    ours, theirs = bridge.student_side.width, bridge.teacher_side.width
    if kind == "none":
        if ours != theirs:
            raise InputError(f"{bridge}: widths {ours} and {theirs} differ; take projector: linear")
        return nn.Identity()
    if kind == "orthogonal":
        return parametrizations.orthogonal(nn.Linear(ours, theirs, bias=False))
    linear = nn.Linear(ours, theirs)
    return linear if kind == "linear" else nn.Sequential(linear, nn.GELU(), nn.Linear(theirs, theirs))


def check_widths(bridge: Bridge, width: int, normalize: bool, distance: str) -> None:
    """Refuse a width that a distance is blind to: its gradient would be 0 whatever the features.

    Raises:
        InputError: one or two channels that are to be standardized over channels, or the direction of a single one.
    """
    if normalize and width < 3:
        raise InputError(
            f"{bridge}: expected at least 3 channels to standardize, got {width}: one is always 0, two are -1 and 1; take "
            "normalize: false"
        )
    if distance in ("cosine", "normalized-mse") and width < 2:
        raise InputError(f"{bridge}: distance {distance} of one channel sees its sign alone; take distance: mse")


@configclass
class FeaturesConfig(PlacesConfig):
    """Match the output of a student's sub-module to that of a teacher's, through a learned projector.

    Outputs are (D), tokens (N, D), maps (D, H, W), or as the layout names them: three axes alone may also be (H, W, D).
    With `pool: mean` every position counts, a class token too; `first` takes the class token alone. With `pool: none`
    positions are joined one by one: as many on both sides, or grids averaged to the coarser, less a leading class token (17
    tokens are 4 x 4 and one).

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """

    kind: Literal["features"] = "features"
    distance: Distance = Field(default="mse", description="how features are compared")
    projector: ProjectorKind = Field(default="linear", description=PROJECTOR_HELP)
    pool: Pool = Field(default="mean", description="average over positions, or join position by position")
    normalize: bool = Field(
        default=True, description="standardize both sides over channels, so the teacher's scale sets no weight"
    )


class FeatureSignal(Signal, of=FeaturesConfig):
    """Distance of projected student features to teacher features; (B,) unweighted.

    Raises:
        InputError: a name that is not there, or shapes that cannot be joined; both names and shapes are printed.
    """

    def __init__(self, config: FeaturesConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"features:{config.between}", config.weight)
        self.distance, self.normalize = config.distance, config.normalize
        self.bridge = config.bridge((config.student, config.teacher), (student, teacher), pool=config.pool)
        check_widths(self.bridge, self.bridge.teacher_side.width, config.normalize, config.distance)
        self.projector = projector_for(self.bridge, config.projector)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        student = self.projector(self.bridge.student(student_out.features))
        teacher = self.bridge.teacher(teacher_out.features)
        if self.normalize:
            student, teacher = standardize(student), standardize(teacher)
        return DISTANCES[self.distance](student, teacher)
