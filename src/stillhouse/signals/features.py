"""Hidden features between networks of unlike kinds, one place of the student to one of the teacher.

Shapes: B batch, N positions, D width. Everything is brought to (B, N, D); a vector is one position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import Beside, configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.regression import cosine_distance, mse, normalized_mse, smooth_l1
from stillhouse.signals.base import Signal
from stillhouse.signals.bridges import Bridge, PlacesConfig, Pool, standardized
from stillhouse.signals.projectors import AnyProjector, LinearProjector, Projector, project

Distance = Literal["mse", "normalized-mse", "cosine", "smooth-l1"]
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "normalized-mse": normalized_mse,
    "cosine": cosine_distance,
    "smooth-l1": smooth_l1,
}


@configclass
class FeaturesConfig(PlacesConfig):
    """Match the output of a student's sub-module to that of a teacher's, through a learned projector.

    Outputs are (D), tokens (N, D), maps (D, H, W), or as the layout names them: three axes alone may also be (H, W, D).
    With `pool: mean` every position counts, a class token too; `first` takes the class token alone. With `pool: none`
    positions are joined one by one: as many on both sides, or grids averaged to the coarser, less a leading class token (17
    tokens are 4 x 4 and one), or sequences of unlike length averaged. `auto` is `none` where that can be, else `mean`.

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets).
    """

    kind: Literal["features"] = "features"
    distance: Distance = Field(default="mse", description="how features are compared")
    projector: Annotated[AnyProjector, Beside()] = Field(
        default=LinearProjector(), discriminator="kind", description="map from the student's width to the teacher's"
    )
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
        paths = (config.student, config.teacher)
        self.bridge = config.bridge(paths, (student, teacher), pool=config.pool)
        check_widths(self.bridge, (self.bridge.teacher_side.width,), config.normalize, config.distance)
        self.projector = projector_for(self.bridge, config.projector)

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        student, teacher = self.bridge.student(student_out.features), self.bridge.teacher(teacher_out.features)
        if self.normalize:
            teacher = standardized(teacher)
        student = project(self.projector, student, teacher)
        if self.normalize:
            student = standardized(student)
        return DISTANCES[self.distance](student, teacher)


def check_widths(bridge: Bridge, widths: tuple[int, ...], normalize: bool, distance: str) -> None:
    """Refuse widths that a distance is blind to: its gradient would be 0 whatever the features.

    Raises:
        InputError: one or two channels that are to be standardized over channels, or the direction of a single one.
    """
    width = min(widths)
    if normalize and width < 3:
        raise InputError(
            f"{bridge}: expected at least 3 channels to standardize, got {width}: one is always 0, two are -1 and 1; take "
            "normalize: false"
        )
    if distance in ("cosine", "normalized-mse") and width < 2:
        raise InputError(f"{bridge}: distance {distance} of one channel sees its sign alone; take distance: mse")


def projector_for(bridge: Bridge, projector: Projector) -> nn.Module:
    """The projector that a bridge needs.

    Raises:
        InputError: none over unlike widths.
    """
    try:
        return projector.build(bridge.student_side.width, bridge.teacher_side.width)
    except InputError as error:
        raise InputError(f"{bridge}: {error}") from None
