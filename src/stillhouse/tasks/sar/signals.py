"""What a focusing student learns from a teacher: its focused lines, its hidden lines, and which shared signals read these.

The first two are built from the `objective` of a run. Everything they compare is cut to the valid region, since outside it no
line holds the whole aperture of its targets.

Shapes: B lines, L azimuth samples, H width of a hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.state_space.block import ComplexLinear
from stillhouse.losses import complex as losses
from stillhouse.signals.base import Signal
from stillhouse.tasks.sar.plan import Distance, SarObjective

FEATURE_FLOOR = 1e-8  # hidden lines have no fixed scale


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
    terms = (
        LineTerm("distillation", beta, valid, objective),
        LineTerm(
            "feature", gamma, valid, objective, *((f"blocks.{n // 2}",) for n in (student_layers, teacher_layers))
        ),
    )
    return tuple(term for term in terms if term.weight > 0)


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
class LineTerm:
    """Focused lines of the student against the teacher's, or a hidden line against one of the teacher's, by module path."""

    compares_samples: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    name: Literal["distillation", "feature"]
    weight: float
    valid: slice
    objective: SarObjective
    student_paths: tuple[str, ...] = ()
    teacher_paths: tuple[str, ...] = ()

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LineSignal:
        """The signal."""
        return LineSignal(self, student, teacher)


class LineSignal(Signal):
    """(B,) distance in the valid region; of hidden lines the NMSE after a learned complex linear map."""

    def __init__(self, config: LineTerm, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name, config.weight)
        self.config = config
        for ours, theirs in zip(config.student_paths, config.teacher_paths):
            self.projection = ComplexLinear(student.features[ours][-1], teacher.features[theirs][-1])

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,)."""
        config, valid = self.config, self.config.valid
        for ours, theirs in zip(config.student_paths, config.teacher_paths):
            mapped = self.projection(student_out.features[ours][:, valid])
            return losses.complex_nmse(mapped, teacher_out.features[theirs][:, valid].detach(), floor=FEATURE_FLOOR)
        how = config.objective.distillation_loss, config.objective.temperature
        return measure(student_out.logits[:, valid], teacher_out.logits[:, valid], *how)
