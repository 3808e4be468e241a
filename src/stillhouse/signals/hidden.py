"""The signal of many hidden layers at once, between networks of unlike depth and width.

Shapes: B batch, N positions, S width of the student, D width of the teacher, R rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import cka_loss
from stillhouse.signals.bridges import Bridge, Side, standardized
from stillhouse.signals.config.hidden import HiddenConfig
from stillhouse.signals.features import DISTANCES, check_widths, projector_for
from stillhouse.signals.layer_gates import LayerGates
from stillhouse.signals.projectors import project

FEWEST_ROWS = 4  # of the unbiased cka


class HiddenSignal(nn.Module):
    """Mean over layer pairs of the distance of projected student features to teacher features; unweighted.

    (B,), or a scalar where the distance compares whole batches (cka). A batch of fewer than 4 rows, as the last of an epoch may
    be, has no unbiased cka: it is left out (0) and counted as `skipped` in the figures; if the first is one, all are.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, or a shared projector over unlike widths.
    """

    seen: Tensor

    def __init__(self, config: HiddenConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.name, self.weight, self.config = f"hidden:{config.between}", config.weight, config
        self.pairs = config.pairs()
        self.layers = [_bridges(ours, theirs, config, student, teacher) for ours, theirs in config.targets()]
        weights = config.layer_weights or (1.0,) * len(self.pairs)
        self.shares = [weight / sum(weights) for weight in weights]
        self.projectors = self._projectors()
        self.gates = nn.ModuleList(
            LayerGates(bridges[0].theirs.width, len(bridges)) for bridges in self.layers if config.map == "learned"
        )
        self._last: dict[str, Tensor] = {}
        self.skipped = 0
        # travels with a checkpoint: a run resumed at the small last batch of an epoch must not take it for the first
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) distance of each sample, or a scalar."""
        total: Tensor | None = None
        self._last = {}
        for number, bridges in enumerate(self.layers):
            layer = self.pairs[number][0]
            target = self._target(number, bridges, told)
            ours = bridges[0].student(said.features)
            ours = project(self.projectors[number % len(self.projectors)], ours, target)
            if self.config.distance == "cka" and ours.shape[0] * ours.shape[1] < FEWEST_ROWS:
                if not self.seen:
                    raise InputError(
                        f"signal {self.name!r}: unbiased cka compares at least {FEWEST_ROWS} rows, and the first batch has "
                        f"{ours.shape[0] * ours.shape[1]}; take a larger batch_size, or pool: none"
                    )
                self.skipped += 1
                self._last = {}
                return 0 * ours.sum()
            value = self._compare(standardized(ours) if self.config.normalize else ours, target, progress)
            self._last[f"layer_{layer}"] = value.detach()
            if self.shares[number] > 0:  # 0 times an infinite value is NaN
                total = self.shares[number] * value + (0 if total is None else total)
        self.seen.fill_(True)
        assert total is not None  # the configuration refuses weights of 0 alone
        return total

    def figures(self) -> dict[str, float]:
        """Of the last batch: each layer's distance and the mean opening of each gate; batches skipped so far, if any."""
        told = {name: float(value.mean()) for name, value in self._last.items()}
        return {**told, "skipped": float(self.skipped)} if self.skipped else told

    def bounds(self) -> dict[str, tuple[float, float]]:
        """A gate is open between 0 and 1."""
        return {name: (0.0, 1.0) for name in self._last if name.startswith("gate_")}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The gates with their own learning rate, where they have one."""
        groups: list[dict[str, Any]] = [{"params": list(self.projectors.parameters())}]
        gates: dict[str, Any] = {"params": list(self.gates.parameters())}
        if self.config.gate_learning_rate is not None:
            gates["lr"] = self.config.gate_learning_rate
        return [group for group in (*groups, gates) if group["params"]]

    def _projectors(self) -> nn.ModuleList:
        config = self.config
        firsts = [bridges[0] for bridges in self.layers]
        for bridge in firsts:
            both = (bridge.ours.width, bridge.theirs.width)  # cka projects nothing, so the student's own counts
            check_widths(bridge, both if config.distance == "cka" else both[1:], config.normalize, config.distance)
        if config.distance == "cka":
            return nn.ModuleList([nn.Identity()])
        if not config.shared:
            return nn.ModuleList(projector_for(bridge, config.projector, config.initialize) for bridge in firsts)
        widths = sorted({(bridge.ours.width, bridge.theirs.width) for bridge in firsts})
        if len(widths) > 1:
            raise InputError(f"shared: expected equal widths in all pairs, got {widths} (student, teacher)")
        return nn.ModuleList([projector_for(firsts[0], config.projector, config.initialize)])

    def _target(self, number: int, bridges: list[Bridge], told: Outputs) -> Tensor:
        """(B, N, D) of the teacher; through gates it has a gradient, to them only."""
        states = [bridge.teacher(told.features) for bridge in bridges]
        if self.config.normalize:
            states = [standardized(state) for state in states]
        if not self.gates:
            return states[0]
        mixed, opened = self.gates[number](states)  # an embedding or a block of one has no gate and passes as it is
        for bridge, gate in zip(bridges[1:], opened):
            self._last[f"gate_{bridge.theirs.path}"] = gate.detach()
        return standardized(mixed) if self.config.normalize else mixed

    def _compare(self, ours: Tensor, target: Tensor, progress: Progress) -> Tensor:
        if self.config.distance == "cka":
            return _both_ways(cka_loss, *_rows(ours, target, self.config.rows, progress.step))
        return _both_ways(DISTANCES[self.config.distance], ours, target)


def _bridges(
    ours: str, theirs: tuple[str, ...], config: HiddenConfig, student: OutputSpec, teacher: OutputSpec
) -> list[Bridge]:
    """One bridge for each layer of the teacher's block, all of one shape."""
    found = [
        Bridge.between(
            Side.of("student", ours, student, config.student_layout),
            Side.of("teacher", path, teacher, config.teacher_layout),
            pool=config.pool,
            resize=config.resize,
        )
        for path in theirs
    ]
    shapes = {(bridge.size, bridge.theirs.width, bridge.theirs.positions) for bridge in found}
    if len(shapes) > 1:
        listed = ", ".join(f"{bridge.theirs.path} {bridge.theirs.shape}" for bridge in found)
        raise InputError(f"map learned: expected layers of one shape in a block of the teacher, got {listed}")
    return found


def _rows(ours: Tensor, theirs: Tensor, most: int, step: int) -> tuple[Tensor, Tensor]:
    """Positions as rows (R, S) and (R, D), the same of both; drawn by the step where they are many, so that resume draws alike."""
    ours, theirs = ours.flatten(0, 1), theirs.flatten(0, 1)
    if len(ours) <= most:
        return ours, theirs
    chosen = torch.randperm(len(ours), generator=torch.Generator().manual_seed(step))[:most].to(ours.device)
    return ours[chosen], theirs[chosen]


def _both_ways(distance: Callable[[Tensor, Tensor], Tensor], ours: Tensor, target: Tensor) -> Tensor:
    """The distance, with a gradient to a learned target too: the losses detach their second argument, and all are symmetric."""
    value = distance(ours, target)
    if not target.requires_grad:
        return value
    back = distance(target, ours.detach())
    return value + (back - back.detach())
