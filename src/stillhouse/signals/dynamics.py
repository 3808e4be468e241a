"""The signal of feature dynamics: where a network is after each layer, and how that changes with depth.

Shapes: B batch, N positions, D width (or K classes), J layers that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, pearson_distance
from stillhouse.losses.precision import wide
from stillhouse.losses.regression import mse
from stillhouse.signals.bridges import Bridge, Side, standardized
from stillhouse.signals.config.dynamics import DynamicsConfig
from stillhouse.signals.features import DISTANCES, check_widths, projector_for
from stillhouse.signals.projectors import project


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

    Raises:
        InputError: fewer than two layers, lengths that differ, depths that do not rise.

    Example:
        A step of (1, -1) in half the depth against (2, -2) in all of it: the derivatives are the same.

        >>> x, y = torch.zeros(1, 1, 2), torch.tensor([[[1.0, -1.0]]])
        >>> delta_loss([x, y], [x, 2 * y], student_depths=(0.5, 1.0), teacher_depths=(0.0, 1.0), compare="mse").item()
        0.0

    Source: FDD, ACL 2025, aclanthology.org/2025.acl-long.1125; norms are ours.
    """
    lengths = [len(student), len(teacher), len(student_depths), len(teacher_depths)]
    if len(set(lengths)) > 1 or lengths[0] < 2:
        raise InputError(f"layers and depths: expected as many of each, at least 2, got {lengths}")
    ours, theirs = _derivatives(student, student_depths), _derivatives(teacher, teacher_depths)
    values = []
    for a, b in zip(ours, theirs):
        if compare == "mse":
            values.append(mse(a, b))
        else:
            values.append(pearson_distance(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2]).mean(1))
    return torch.stack(values).mean(0)


class DynamicsSignal(nn.Module):
    """trajectory_weight * mean over layers of their distance + delta_weight * mean over steps of theirs; (B,) unweighted.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, layers of unlike width, or scores of unlike classes.
    """

    def __init__(self, config: DynamicsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight, self.config = f"dynamics:{config.between}", config.weight, config
        pairs = config.pairs()
        self.depths = (
            [j / len(config.student_paths) for j, _ in pairs],
            [k / len(config.teacher_paths) for _, k in pairs],
        )
        self.bridges = [
            Bridge.between(
                Side.of("student", ours, student, config.student_layout),
                Side.of("teacher", theirs, teacher, config.teacher_layout),
                pool=config.pool,
                resize=config.resize,
            )
            for ours, theirs in zip(config.student_features(), config.teacher_features())
        ]
        shapes = {(b.ours.width, b.theirs.width, b.size, b.theirs.positions, b.pool) for b in self.bridges}
        if len(shapes) > 1:
            listed = "; ".join(map(str, self.bridges))
            raise InputError(f"dynamics: expected layers of one width and one number of positions, got {listed}")
        first = self.bridges[0]
        if config.space == "projector":
            both = (first.ours.width, first.theirs.width)  # the student's is standardized before it is projected
            check_widths(first, both if config.normalize else both[1:], config.normalize, config.distance)
            self.projector = projector_for(first, config.projector, config.initialize)
        elif first.ours.width != first.theirs.width:
            raise InputError(f"{first}: space logits wants scores of the same classes; take space: projector")
        else:
            self.projector = nn.Identity()
        self._last: dict[str, Tensor] = {}

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample."""
        config = self.config
        ours, theirs = self._paths(said, told)
        self._last = {}
        total: Tensor | None = None
        if config.trajectory_weight > 0:
            trajectory = torch.stack([self._distance(a, b) for a, b in zip(ours, theirs)]).mean(0)
            self._last["trajectory"] = trajectory.detach()
            total = config.trajectory_weight * trajectory
        if len(ours) > 1 and config.delta_weight > 0:
            delta = delta_loss(
                ours, theirs, student_depths=self.depths[0], teacher_depths=self.depths[1], compare=config.delta
            )
            self._last["delta"] = delta.detach()
            total = config.delta_weight * delta + (0 if total is None else total)
        assert total is not None  # the configuration refuses both weights 0, and 0 with one layer
        return total

    def figures(self) -> dict[str, float]:
        """Trajectory and derivative of the last batch, before their factors."""
        return {name: float(value.mean()) for name, value in self._last.items()}

    def _paths(self, said: Outputs, told: Outputs) -> tuple[list[Tensor], list[Tensor]]:
        """Both paths, J tensors (B, N, D) each."""
        theirs = [wide(bridge.teacher(told.features)) for bridge in self.bridges]
        ours = [wide(bridge.student(said.features)) for bridge in self.bridges]
        if self.config.space == "logits":
            return ours, theirs
        if self.config.normalize:
            # before the projector, not after: a path that is standardized at every layer has lost its speed
            ours, theirs = [standardized(x) for x in ours], [standardized(x) for x in theirs]
        projected = project(self.projector, torch.cat(ours), torch.cat(theirs))  # least squares over all layers at once
        return list(wide(projected).split(len(ours[0]))), theirs

    def _distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.config.space == "projector":
            return DISTANCES[self.config.distance](ours, theirs)
        value = forward_kl(ours.flatten(0, 1), theirs.flatten(0, 1), temperature=self.config.temperature)
        return value.unflatten(0, ours.shape[:2]).mean(1)


def _derivatives(path: Sequence[Tensor], depths: Sequence[float]) -> list[Tensor]:
    steps = [after - before for before, after in pairwise(depths)]
    if min(steps) <= 0:
        raise InputError(f"depths: expected rising ones, got {list(depths)}")
    found = [(wide(after) - wide(before)) / step for before, after, step in zip(path, path[1:], steps)]
    return [change - change.mean(-1, keepdim=True) for change in found]
