"""The signal of hidden features, between networks of unlike kinds.

Shapes: B batch, N positions, D width. Everything is brought to (B, N, D); a vector is one position.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.regression import cosine_distance, mse, normalized_mse, smooth_l1
from stillhouse.signals.bridges import Bridge, Side, standardized
from stillhouse.signals.config.features import FeaturesConfig
from stillhouse.signals.projectors import Initialize, ProjectorKind, build_projector, project

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "normalized-mse": normalized_mse,
    "cosine": cosine_distance,
    "smooth-l1": smooth_l1,
}


class FeatureSignal(nn.Module):
    """Distance of projected student features to teacher features; (B,) unweighted.

    Raises:
        InputError: a name that is not there, or shapes that cannot be joined; both names and shapes are printed.
    """

    def __init__(self, config: FeaturesConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight = f"features:{config.student}->{config.teacher}", config.weight
        self.distance, self.normalize = config.distance, config.normalize
        self.bridge = Bridge.between(
            Side.of("student", config.student, student, config.student_layout),
            Side.of("teacher", config.teacher, teacher, config.teacher_layout),
            pool=config.pool,
            resize=config.resize,
        )
        check_widths(self.bridge, (self.bridge.theirs.width,), config.normalize, config.distance)
        self.projector = projector_for(self.bridge, config.projector, config.initialize)

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        ours, theirs = self.bridge.student(said.features), self.bridge.teacher(told.features)
        if self.normalize:
            theirs = standardized(theirs)
        ours = project(self.projector, ours, theirs)
        if self.normalize:
            ours = standardized(ours)
        return DISTANCES[self.distance](ours, theirs)


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


def projector_for(bridge: Bridge, kind: ProjectorKind, initialize: Initialize) -> nn.Module:
    """The projector that a bridge needs.

    Raises:
        InputError: none over unlike widths.
    """
    try:
        return build_projector(kind, bridge.ours.width, bridge.theirs.width, initialize=initialize)
    except InputError as error:
        raise InputError(f"{bridge}: {error}") from None
