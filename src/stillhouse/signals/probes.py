"""Linear read-outs at places of the student: what each of them knows, and, if asked, a loss that reaches the student.

Shapes: B batch, D width, K classes, P places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import label_cross_entropy
from stillhouse.signals.base import Signal, SignalBase
from stillhouse.signals.bridges import Layout, Side


@configclass
class ProbesConfig(SignalBase):
    """A linear classifier at each place, trained on detached features: its accuracy shows what is known there.

    With a weight, the same classifiers are auxiliary heads too: their loss then reaches the student, but not themselves, so
    that the measurement does not depend on the weight. Needs no teacher.

    Source: Alain, Bengio 2016, arXiv:1610.01644 (probes); Lee et al. 2015, arXiv:1409.5185 (auxiliary heads).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["probes"] = "probes"
    places: tuple[str, ...] = Field(min_length=1, description="paths of the student's sub-modules that are read")
    heads: tuple[int, ...] = Field(
        default=(),
        description="one number a place: a read-out for each of so many equal parts (attention heads); none: one a place",
    )
    layout: Layout = Field(default="auto", description="axes of their outputs; auto: by their number")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of their cross-entropy")
    weight: float = Field(default=0.0, ge=0, description="factor of their loss on the student; 0: only measured")

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"places: expected each path once, got {', '.join(self.places)}")
        if self.heads and (len(self.heads) != len(self.places) or min(self.heads) < 1):
            raise ValueError(
                f"heads: expected one number above 0 for each of {len(self.places)} places, got {self.heads}"
            )

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.places


class ProbeSignal(Signal, of=ProbesConfig):
    """Mean cross-entropy of the places' read-outs; (B,) unweighted, named `aux_loss`. What a teacher puts out is not read.

    The value reaches the student and not the read-outs; these learn from the regularizer `probes`, on detached features.

    Raises:
        InputError: a path that is not among the student's outputs, or axes that cannot be read.
    """

    always: ClassVar[bool] = True  # read-outs learn, and are scored, at weight 0 too

    def __init__(self, config: ProbesConfig, student: OutputSpec, teacher: OutputSpec | None = None) -> None:
        super().__init__(config.name or "aux_loss", config.weight)
        self.config = config
        self.reads = {path: Side.of("student", path, student, config.layout) for path in config.places}
        self.parts = dict(zip(config.places, config.heads or (1,) * len(config.places)))
        self.names = [name for path in config.places for name in self._names(path)]
        widths = [self._width(path) for path in config.places for _ in range(self.parts[path])]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, student.num_classes))
            for width in widths
        )
        self._readout_loss: Tensor | None = None

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) mean over the places, for the student alone."""
        pooled = self._pooled(student_out)
        self._readout_loss = self._loss({path: x.detach() for path, x in pooled.items()}, batch, frozen=False).mean()
        with torch.set_grad_enabled(self.weight > 0 and torch.is_grad_enabled()):
            return self._loss(pooled, batch, frozen=True)

    def regularizers(self) -> dict[str, tuple[float, Tensor]]:
        """What the read-outs themselves learn from; no gradient of it reaches the student."""
        return {} if self._readout_loss is None else {"probes": (1.0, self._readout_loss)}

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) at every place by path, of parts as `PATH#head1`, `PATH#head2`, ..."""
        return {name: head(x) for (name, x), head in zip(self._pooled(student_out).items(), self.heads)}

    def _pooled(self, student_out: Outputs) -> dict[str, Tensor]:
        """(B, D) by name."""
        parts = [
            part
            for path, read in self.reads.items()
            for part in read.pooled(student_out.features).chunk(self.parts[path], dim=1)
        ]
        return dict(zip(self.names, parts, strict=True))

    def _names(self, path: str) -> list[str]:
        count = self.parts[path]
        return [f"{path}#head{number}" for number in range(1, count + 1)] if self.config.heads else [path]

    def _width(self, path: str) -> int:
        width, count = self.reads[path].width, self.parts[path]
        if width % count:
            raise InputError(
                f"probes: expected a number of heads that divides the width {width} of {path!r}, got {count}"
            )
        return width // count

    def _loss(self, pooled: Mapping[str, Tensor], batch: Batch, *, frozen: bool) -> Tensor:
        total = torch.zeros(len(batch.labels), device=batch.labels.device)
        for x, head in zip(pooled.values(), self.heads):
            fixed = {name: p.detach() for name, p in head.named_parameters()}
            logits = functional_call(head, fixed, (x,)) if frozen else head(x)
            total = total + label_cross_entropy(logits, batch.targets, smoothing=self.config.smoothing)
        return total / len(self.heads)
