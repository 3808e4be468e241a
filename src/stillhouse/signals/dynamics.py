"""Feature dynamics: where a network is after each layer, and how that changes with depth, matched to the teacher's.

Shapes: B batch, N positions, D width (or K classes), J layers that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.correlation import pearson_distance
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.regression import mse
from stillhouse.losses.softened import wide
from stillhouse.signals.base import Signal
from stillhouse.signals.bridges import standardize
from stillhouse.signals.features import check_widths, projector_for
from stillhouse.signals.hidden import LayersConfig, Pairs, uniform_map


@configclass
class DynamicsConfig(LayersConfig):
    """Read a network as a path through feature space: match where it is (trajectory) and where it goes (first derivative).

    Every layer of the student from `start` on is paired with the teacher's at equal relative depth; differences between
    neighbouring pairs are divided by the depth between them. The derivative is compared by direction (`cosine`), or by `mse`
    with its length, where the depth counts.

    `space: projector` compares features, the student's through one projector for all layers (one each would bend the path):
    for any two networks. `space: logits` compares class scores: the paths must put out (K) or (N, K), as exits or a language
    model's head over its layers do; the trajectory is then a KL, nothing is projected and nothing standardized.

    The published abstract and figures leave the norms open; these are ours.

    Source: FDD, ACL 2025, aclanthology.org/2025.acl-long.1125 (feature dynamics distillation).
    """

    kind: Literal["dynamics"] = "dynamics"
    space: Literal["projector", "logits"] = Field(default="projector", description="compare features or class scores")
    start: float = Field(
        default=1 / 3, ge=0, lt=1, description="relative depth to start at: early layers hold little of use"
    )
    delta: Literal["cosine", "mse"] = Field(default="cosine", description="how derivatives are compared")
    delta_weight: float = Field(default=1.0, ge=0, description="factor of the derivative; one layer has none")

    def pairs(self) -> Pairs:
        """(layer of the student, layer of the teacher) from `start` on, from 1."""
        m, n = len(self.student_layer_paths), len(self.teacher_layer_paths)
        return tuple((j, k) for j, k in uniform_map(m, n) if j / m >= self.start - 1e-9)

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return tuple(self.student_layer_paths[j - 1] for j, _ in self.pairs())

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher."""
        return tuple(self.teacher_layer_paths[k - 1] for _, k in self.pairs())


def delta_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    student_depths: Sequence[float],
    teacher_depths: Sequence[float],
    compare: str = "cosine",
) -> Tensor:
    """Distance of the first derivatives with depth of two paths of equal width, each derivative centered over channels.

    Args:
        student: J tensors (B, N, D), one a layer.
        teacher: J tensors of the same shape; get no gradient.
        student_depths: J relative depths in (0, 1], rising.
        teacher_depths: the teacher's.
        compare: cosine (1 - cosine: blind to the length of steps, so to the depths too) or mse.

    Returns:
        (B,), the mean over steps and positions; unchanged by a constant added to all channels of a layer. With cosine, a
        step that the teacher does not take teaches nothing (0).

    Example:
        A step of (1, -1) in half the depth against (2, -2) in all of it: the derivatives are the same.

        >>> x, y = torch.zeros(1, 1, 2), torch.tensor([[[1.0, -1.0]]])
        >>> delta_loss([x, y], [x, 2 * y], student_depths=(0.5, 1.0), teacher_depths=(0.0, 1.0), compare="mse").item()
        0.0

    Source: FDD, ACL 2025, aclanthology.org/2025.acl-long.1125; norms are student.
    """
    pairs = list(zip(_derivatives(student, student_depths), _derivatives(teacher, teacher_depths)))
    if compare == "mse":
        return torch.stack([mse(a, b) for a, b in pairs]).mean(0)
    found = [pearson_distance(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2]).mean(1) for a, b in pairs]
    return torch.stack(found).mean(0)


class DynamicsSignal(Signal, of=DynamicsConfig):
    """Mean over layers of their distance + delta_weight * mean over steps of theirs; (B,) unweighted.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, layers of unlike width, or scores of unlike classes.
    """

    def __init__(self, config: DynamicsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"dynamics:{config.between}", config.weight)
        self.config = config
        pairs = config.pairs()
        self.depths = (
            [j / len(config.student_layer_paths) for j, _ in pairs],
            [k / len(config.teacher_layer_paths) for _, k in pairs],
        )
        self.bridges = [
            config.bridge(paths, (student, teacher), pool=config.pool)
            for paths in zip(config.student_paths, config.teacher_paths)
        ]
        shapes = {
            (b.student_side.width, b.teacher_side.width, b.size, b.teacher_side.positions, b.pool) for b in self.bridges
        }
        if len(shapes) > 1:
            listed = "; ".join(map(str, self.bridges))
            raise InputError(f"dynamics: expected layers of one width and one number of positions, got {listed}")
        first = self.bridges[0]
        ours, theirs = first.student_side.width, first.teacher_side.width
        if config.space == "projector":
            # the student's is standardized before it is projected
            check_widths(first, min(ours, theirs) if config.normalize else theirs, config.normalize, "mse")
            self.projector = projector_for(first, config.projector)
        elif ours != theirs:
            raise InputError(f"{first}: space logits wants scores of the same classes; take space: projector")
        else:
            self.projector = nn.Identity()
        self._last: dict[str, Tensor] = {}

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        config = self.config
        student, teacher = self._paths(student_out, teacher_out)
        total = torch.stack([self._distance(a, b) for a, b in zip(student, teacher)]).mean(0)
        self._last = {"trajectory": total.detach()}
        if len(student) > 1 and config.delta_weight > 0:
            delta = delta_loss(
                student, teacher, student_depths=self.depths[0], teacher_depths=self.depths[1], compare=config.delta
            )
            self._last["delta"] = delta.detach()
            total = total + config.delta_weight * delta
        return total

    def figures(self) -> dict[str, float]:
        """Trajectory and derivative of the last batch, before their factors."""
        return {name: float(value.mean()) for name, value in self._last.items()}

    def _paths(self, student_out: Outputs, teacher_out: Outputs) -> tuple[list[Tensor], list[Tensor]]:
        """Both paths, J tensors (B, N, D) each."""
        teacher = [wide(bridge.teacher(teacher_out.features)) for bridge in self.bridges]
        student = [wide(bridge.student(student_out.features)) for bridge in self.bridges]
        if self.config.space == "logits":
            return student, teacher
        if self.config.normalize:
            # before the projector, not after: a path that is standardized at every layer has lost its speed
            student, teacher = [standardize(x) for x in student], [standardize(x) for x in teacher]
        return [wide(self.projector(x)) for x in student], teacher

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.config.space == "projector":
            return mse(student, teacher)
        value = forward_kl(student.flatten(0, 1), teacher.flatten(0, 1))
        return value.unflatten(0, student.shape[:2]).mean(1)


def _derivatives(path: Sequence[Tensor], depths: Sequence[float]) -> list[Tensor]:
    steps = [after - before for before, after in pairwise(depths)]
    found = [(wide(after) - wide(before)) / step for before, after, step in zip(path, path[1:], steps)]
    return [change - change.mean(-1, keepdim=True) for change in found]
