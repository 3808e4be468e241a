"""How features change from layer to layer, matched to the teacher's (feature dynamics)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Distance, check_settings
from stillhouse.signals.config.hidden import LayersConfig
from stillhouse.signals.layer_maps import Pairs, uniform_map

if TYPE_CHECKING:
    from stillhouse.signals.dynamics import DynamicsSignal


@configclass
class DynamicsConfig(LayersConfig):
    """Read a network as a path through feature space: match where it is (trajectory) and where it goes (first derivative).

    Every layer of the student from `start` on is paired with the teacher's at equal relative depth; differences between
    neighbouring pairs are divided by the depth between them. The derivative is compared by direction (`cosine`), or by `mse`
    with its length, where the depth counts.

    `space: projector` compares features, the student's through one projector for all layers (one each would bend the path):
    for any two networks. `space: logits` compares class scores: the paths must put out (K) or (N, K), as exits or a language
    model's head over its layers do; the trajectory is then T^2 KL, nothing is projected and nothing standardized.

    The published abstract and figures leave the norms open; these are ours.

    Source: FDD, ACL 2025, aclanthology.org/2025.acl-long.1125 (feature dynamics distillation).
    """

    kind: Literal["dynamics"] = "dynamics"
    space: Literal["projector", "logits"] = Field(
        default="projector", description="compare features, or scores of classes"
    )
    start: float = Field(
        default=1 / 3, ge=0, lt=1, description="relative depth to start at: early layers have little to say"
    )
    projector: Literal["linear", "orthogonal", "none"] = Field(
        default="linear", description="map from the student's width to the teacher's, one for all layers"
    )
    initialize: Literal["default", "orthogonal", "least-squares"] = Field(
        default="default", description="how a linear projector starts; least-squares: fitted to the first batch"
    )
    distance: Distance = Field(default="mse", description="of the trajectory, in projector space")
    temperature: float = Field(
        default=1.0, gt=0, description="of the trajectory, in logits space; the loss is times T^2"
    )
    delta: Literal["cosine", "mse"] = Field(default="cosine", description="how derivatives are compared")
    trajectory_weight: float = Field(default=1.0, ge=0, description="factor of the trajectory")
    delta_weight: float = Field(default=1.0, ge=0, description="factor of the derivative; one layer has none")

    def __post_init__(self) -> None:
        check_settings(self.projector, self.initialize, self.pool, self.resize)
        if self.space == "projector" and self.temperature != 1.0:
            raise ValueError("temperature: does nothing in space projector; it is for logits")
        if self.space == "logits" and (self.distance != "mse" or self.initialize != "default"):
            raise ValueError("distance and initialize: do nothing in space logits; they are for projector")
        if self.trajectory_weight == 0 and self.delta_weight == 0:
            raise ValueError("trajectory_weight and delta_weight: expected one above 0, got 0 and 0")
        pairs = self.pairs()
        if self.trajectory_weight == 0 and len(pairs) == 1:
            raise ValueError(
                "trajectory_weight: expected above 0, since one layer has no derivative to learn from, got 0"
            )

    def pairs(self) -> Pairs:
        """(layer of the student, layer of the teacher) from `start` on, from 1."""
        m, n = len(self.student_paths), len(self.teacher_paths)
        return tuple((j, k) for j, k in uniform_map(m, n) if j / m >= self.start - 1e-9)

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return tuple(self.student_paths[j - 1] for j, _ in self.pairs())

    def teacher_features(self) -> tuple[str, ...]:
        """Paths to tap in the teacher."""
        return tuple(self.teacher_paths[k - 1] for _, k in self.pairs())

    def build(self, student: OutputSpec, teacher: OutputSpec) -> DynamicsSignal:
        """The signal; names and shapes are resolved here, before any training."""
        from stillhouse.signals.dynamics import DynamicsSignal

        return DynamicsSignal(self, student, teacher)
