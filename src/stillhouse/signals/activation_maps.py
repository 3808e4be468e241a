"""Where layers are active, whatever their width, kind and grid (attention transfer).

Shapes: B batch, N positions, D width.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.maps import activation_energy, attention_transfer
from stillhouse.signals.base import Signal
from stillhouse.signals.bridges import PlacesConfig, Side


@configclass
class ActivationMapsConfig(PlacesConfig):
    """Match where a student's layer is active to where its teacher's is: a number a position, so no width has to match.

    The map is the mean over channels of |x|^power, its direction is compared. Grids of unlike size are averaged to the coarser
    one, *after* the map is made: what is active there counts, however the channels would cancel. A leading class token of
    tokens in a square is left out; sequences of unlike length want `sequence` on both sides. As published
    the mean square over positions has a weight of hundreds; here the square is summed, so that a weight of the order of 1 to 10
    means the same on any grid.

    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928 (attention transfer).
    """

    kind: Literal["activation-maps"] = "activation-maps"
    power: float = Field(
        default=2.0, gt=0, description="exponent of the activations; more: the strongest channel counts"
    )


class ActivationMapSignal(Signal, of=ActivationMapsConfig):
    """Distance of the directions of two maps; (B,) unweighted.

    Raises:
        InputError: a name that is not there, or positions that cannot be joined or of which there is one alone.
    """

    def __init__(self, config: ActivationMapsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"activation-maps:{config.between}", config.weight)
        self.power = config.power
        self.bridge = config.bridge((config.student, config.teacher), (student, teacher))
        if self.bridge.positions < 2:
            raise InputError(f"{self.bridge}: expected two positions at least, got one, where a map is always 1")

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        student, teacher = self.bridge.student_side, self.bridge.teacher_side
        return attention_transfer(
            self._map(student_out.features[student.path], student),
            self._map(teacher_out.features[teacher.path].detach(), teacher),
        )

    def _map(self, x: Tensor, side: Side) -> Tensor:
        """(B, N) energy at the positions that both sides have."""
        energy = activation_energy(side.tokens(x), power=self.power).unsqueeze(2)
        return self.bridge.fitted(energy, side).squeeze(2)
