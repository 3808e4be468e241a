"""The signal of relations between samples. Shapes: B batch, N positions, R rows compared, S and D widths of the two sides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.cka import cka_loss
from stillhouse.losses.contrastive import contrastive_distillation
from stillhouse.losses.relations import (
    gram_mse,
    pearson_of_distances,
    pkt,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from stillhouse.signals.bridges import Bridge, Side
from stillhouse.signals.config.relations import USED_BY, RelationsConfig
from stillhouse.signals.projectors import build_projector

ROWS, TRIPLES = 1024, 200_000
FEWEST = {"gram": 2, "contrastive": 2, "cka": 4}  # rows; 3 elsewhere
OF_ANGLES = ("rkd-angle", "pkt", "contrastive")  # see directions alone, of which one channel has two
ANGLE_WEIGHT = 2.0  # published weights of distances and angles beside a label loss: 25 and 50


def rkd(student: Tensor, teacher: Tensor, *, triples: int, generator: torch.Generator) -> Tensor:
    """Distances plus twice the angles, (R, S) against (R, D) -> 0-d."""
    angles = rkd_angle(student, teacher, triples=triples, generator=generator)
    return rkd_distance(student, teacher) + ANGLE_WEIGHT * angles


RELATIONS: dict[str, Callable[..., Tensor]] = {
    "rkd-distance": rkd_distance,
    "rkd-angle": rkd_angle,
    "rkd": rkd,
    "similarity-preserving": similarity_preserving,
    "gram": gram_mse,
    "pkt": pkt,
    "pearson": pearson_of_distances,
    "cka": cka_loss,
    "contrastive": contrastive_distillation,
}


class RelationSignal(nn.Module):
    """A relation of the student's rows against the teacher's; 0-d unweighted.

    Raises:
        InputError: a name that is not there, shapes that cannot be joined, a relation of angles in one channel, or batches
            that are all too small.
    """

    seen: Tensor

    def __init__(self, config: RelationsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        rows = "" if config.pool == "mean" else f":{config.pool}"
        self.name = f"relations:{config.relation}{rows}:{config.student}->{config.teacher}"
        self.weight, self.config = config.weight, config
        self.bridge = Bridge.between(
            Side.of("student", config.student, student, config.student_layout),
            Side.of("teacher", config.teacher, teacher, config.teacher_layout),
            pool=config.pool,
        )
        self.projector: nn.Module = nn.Identity()
        if config.relation == "contrastive":
            widths = self.bridge.ours.width, self.bridge.theirs.width
            self.projector = build_projector(config.projector or "linear", *widths)
        given = {s: getattr(config, s) for s, users in USED_BY.items() if config.relation in users and s != "projector"}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.draws = "triples" in given
        if self.draws:
            settings.setdefault("triples", TRIPLES)
        self.compare = partial(RELATIONS[config.relation], **settings)
        self.fewest = 2 if config.center is False else 3 if config.debiased is False else FEWEST.get(config.relation, 3)
        self._check_widths()
        self.skipped = 0
        # travels with a checkpoint: a run that is resumed at the small last batch of an epoch must not take it for the first
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """0-d relation of the batch; 0 for a last batch that is too small."""
        ours, theirs = self._rows(said, told, progress.step)
        if len(ours) < self.fewest and self.seen:
            self.skipped += 1
            return ours.sum() * 0.0  # with a graph, since it may be the only term
        compare = self.compare
        if self.draws:
            compare = partial(compare, generator=torch.Generator().manual_seed(progress.step))
        value = compare(self.projector(ours), theirs).mean()
        self.seen.fill_(True)
        return value

    def figures(self) -> dict[str, float]:
        """Batches that were too small, where there were any."""
        return {"skipped": float(self.skipped)} if self.skipped else {}

    def _check_widths(self) -> None:
        config, bridge = self.config, self.bridge
        width = bridge.theirs.width if config.relation == "contrastive" else bridge.ours.width
        if width < 2 and (config.relation in OF_ANGLES or config.sphere):
            raise InputError(
                f"{bridge}: relation {config.relation} compares directions, and one channel has its sign alone; take rkd-distance"
            )

    def _rows(self, said: Outputs, told: Outputs, step: int) -> tuple[Tensor, Tensor]:
        """(R, S) and (R, D): the same positions of both, drawn by the step where they are many, so that resume draws alike."""
        ours, theirs = self.bridge.student(said.features), self.bridge.teacher(told.features)
        ours, theirs = ours.flatten(0, 1), theirs.flatten(0, 1)
        most = self.config.rows or ROWS
        if self.config.pool == "none" and len(ours) > most:
            chosen = torch.randperm(len(ours), generator=torch.Generator().manual_seed(step))[:most].to(ours.device)
            ours, theirs = ours[chosen], theirs[chosen]
        if self.config.relation == "cka":
            # its products are Hermitian: a common phase must not count
            ours, theirs = _complex(ours, self.bridge.ours), _complex(theirs, self.bridge.theirs)
        return ours, theirs


def _complex(rows: Tensor, side: Side) -> Tensor:
    """Pairs of real numbers as the complex ones that they were; real rows as they are."""
    return torch.view_as_complex(rows.unflatten(1, (-1, 2)).contiguous()) if side.is_complex else rows
