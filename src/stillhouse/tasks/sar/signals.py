"""What a focusing student learns from a teacher: its focused lines, its hidden lines, and which shared signals read these.

The first two are built from the `objective` of a run. Everything they compare is cut to the valid region, since outside it no
line holds the whole aperture of its targets.

Shapes: B lines, L azimuth samples, H width of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.state_space.block import ComplexLinear
from stillhouse.losses import complex as losses
from stillhouse.signals.base import Signal
from stillhouse.tasks.sar.plan import Distance, SarObjective

FEATURE_FLOOR = 1e-8  # hidden lines have no fixed scale
SCORES = ("logits", "ensemble", "dual-head", "exits", "ofa", "taid", "time-steps")
REFUSED = {
    **dict.fromkeys(SCORES, "a focused line has no class scores; objective.beta compares the lines themselves"),
    **dict.fromkeys(("probes", "contrastive"), "lines have no classes"),
    "attention": "state-space layers have no queries, keys and values",
    "clause-targets": "a state-space network has no clauses to teach; take a student of clauses on images",
}


def unsupported_reason(signal_config: Any) -> str | None:
    """Why a signal cannot work on focused lines; None where it can."""
    if getattr(signal_config, "space", None) == "logits":
        return "space: logits compares class scores, which hidden lines are not; take space: projector"
    return REFUSED.get(signal_config.kind)


def refused(place: str, signals: Sequence[Any]) -> str | None:
    """One line on the first signal that cannot work here."""
    reasons = ((n, signal.kind, unsupported_reason(signal)) for n, signal in enumerate(signals))
    return next((f"{place}.{n} ({kind}): {why}" for n, kind, why in reasons if why), None)


def as_complex(signal_config: Any) -> Any:
    """A shared signal that reads hidden lines (B, L, H) as real pairs (B, L, 2 H), where it names no layout of its own."""
    sides = ("student_layout", "teacher_layout")
    auto = {side: "complex-tokens" for side in sides if getattr(signal_config, side, None) == "auto"}
    return replace(signal_config, **auto) if auto else signal_config


def objective_signals(
    objective: SarObjective, valid: slice, student_layers: int, teacher_layers: int
) -> tuple[Any, ...]:
    """The teacher's terms of an objective, for networks of these depths: outputs, and the layers in the middle of both."""
    _, beta, gamma = objective.weights
    found: list[LineOutputs | LineFeatures] = []
    if beta > 0:
        found.append(LineOutputs(objective.distillation_loss, objective.temperature, beta, valid))
    if gamma > 0:
        paths = ((f"blocks.{student_layers // 2}",), (f"blocks.{teacher_layers // 2}",))
        found.append(LineFeatures(*paths, gamma, valid))
    return tuple(found)


def measure(student: Tensor, teacher: Tensor, distance: Distance, temperature: float | None = None) -> Tensor:
    """(B,) the distance between lines (B, L, 1); `temperature`: the scale at which the NMSE turns linear, None: nowhere.

    Example:
        >>> import torch
        >>> t = torch.ones(1, 8, 1) + 0j
        >>> round(measure(1j * t, t, "nmse").item(), 4)
        2.0
    """
    if distance == "mse":
        return losses.complex_mse(student, teacher)
    if temperature is None:
        return losses.complex_nmse(student, teacher)
    return losses.robust_nmse(student, teacher, temperature=temperature)


@dataclass(frozen=True)
class LineOutputs:
    """Focused lines of the student against the teacher's."""

    student_paths: ClassVar[tuple[str, ...]] = ()
    teacher_paths: ClassVar[tuple[str, ...]] = ()
    compares_samples: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    distance: Distance
    temperature: float | None
    weight: float
    valid: slice

    def build(self, student: OutputSpec, teacher: OutputSpec) -> OutputSignal:
        """The signal."""
        return OutputSignal(self)


@dataclass(frozen=True)
class LineFeatures:
    """A hidden line of the student against one of the teacher's, by module path."""

    compares_samples: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    student_paths: tuple[str]
    teacher_paths: tuple[str]
    weight: float
    valid: slice

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LineFeatureSignal:
        """The signal."""
        return LineFeatureSignal(self, student, teacher)


class OutputSignal(Signal):
    """`distillation`: (B,) distance of focused lines."""

    def __init__(self, config: LineOutputs) -> None:
        super().__init__("distillation", config.weight)
        self.config = config

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) in the valid region."""
        config = self.config
        student, teacher = (out.logits[:, config.valid] for out in (student_out, teacher_out))
        return measure(student, teacher, config.distance, config.temperature)


class LineFeatureSignal(Signal):
    """`feature`: (B,) NMSE of a hidden line after a learned complex linear map."""

    def __init__(self, config: LineFeatures, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__("feature", config.weight)
        self.config = config
        (ours,), (theirs,) = config.student_paths, config.teacher_paths
        self.projection = ComplexLinear(student.features[ours][-1], teacher.features[theirs][-1])

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) in the valid region."""
        (ours,), (theirs,) = self.config.student_paths, self.config.teacher_paths
        student = self.projection(student_out.features[ours][:, self.config.valid])
        teacher = teacher_out.features[theirs][:, self.config.valid].detach()
        return losses.complex_nmse(student, teacher, floor=FEATURE_FLOOR)
