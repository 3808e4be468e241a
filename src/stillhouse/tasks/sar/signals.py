"""What a focusing student learns from a teacher: its focused lines, its hidden lines, and which shared signals read these.

The first two are built from the `objective` of a run. Everything they compare is cut to the valid region, since outside it no
line holds the whole aperture of its targets.

Shapes: B lines, L azimuth samples, H width of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.state_space import ComplexLinear
from stillhouse.losses import complex as losses
from stillhouse.losses.cka import cka_loss
from stillhouse.signals.base import Signal
from stillhouse.tasks.sar.objective import ComplexLoss, SarObjective, layer_at

FEATURE_FLOOR = 1e-8  # hidden lines have no fixed scale
SCORES = "a focused line has no class scores; objective.beta compares the lines themselves"
REFUSED = {
    "logits": SCORES,
    "ensemble": SCORES,
    "dual-head": SCORES,
    "exits": SCORES,
    "ofa": SCORES,
    "taid": SCORES,
    "time-steps": SCORES,
    "attention": "state-space layers have no queries, keys and values",
    "probes": "lines have no classes to probe for",
    "clause-targets": "a state-space network has no clauses to teach; take a student of clauses on images",
    "contrastive": "lines have no classes to bring together",
}


def unsupported_reason(signal_config: Any) -> str | None:
    """Why a signal cannot work on focused lines; None where it can.

    Example:
        >>> from stillhouse.signals import FeaturesConfig, LogitsConfig
        >>> unsupported_reason(LogitsConfig())
        'a focused line has no class scores; objective.beta compares the lines themselves'
        >>> unsupported_reason(FeaturesConfig(student="blocks.0", teacher="blocks.1"))
    """
    if signal_config.kind in REFUSED:
        return REFUSED[signal_config.kind]
    if getattr(signal_config, "space", None) == "logits":
        return "space: logits compares class scores, which hidden lines are not; take space: projector"
    return None


def as_complex(signal_config: Any) -> Any:
    """A shared signal that reads hidden lines (B, L, H) as real pairs (B, L, 2 H), where it names no layout of its own."""
    sides = ("student_layout", "teacher_layout")
    auto = {side: "complex-tokens" for side in sides if getattr(signal_config, side, None) == "auto"}
    return replace(signal_config, **auto) if auto else signal_config


def objective_signals(
    objective: SarObjective, valid: slice, student_layers: int, teacher_layers: int
) -> tuple[Any, ...]:
    """The teacher's terms of an objective, for networks of these depths."""
    _, beta, gamma = objective.weights
    found: list[LineOutputs | LineFeatures] = []
    if beta > 0:
        found.append(LineOutputs(objective.distillation_loss, objective.temperature, beta, valid))
    if gamma > 0:
        depths = [(layer_at(d, student_layers), layer_at(d, teacher_layers)) for d in objective.feature_depths]
        pairs = tuple((f"blocks.{ours}", f"blocks.{theirs}") for ours, theirs in dict.fromkeys(depths))
        found.append(LineFeatures(pairs, objective.feature_loss, gamma, valid))
    return tuple(found)


def measure(student: Tensor, teacher: Tensor, how: ComplexLoss, *, temperature: float | None = None) -> Tensor:
    """(B,) the weighted sum of distances between lines (B, L, 1) that a configuration asks for.

    Args:
        student: what is moved.
        teacher: what it is held against.
        how: the weights.
        temperature: scale at which the `nmse` part turns linear; None for the plain square.

    Example:
        >>> t = torch.ones(1, 8, 1) + 0j
        >>> measure(1j * t, t, ComplexLoss(nmse=1.0, mse=0.5)).item()  # 2 and half of 2
        3.0
    """

    def nmse(s: Tensor, t: Tensor) -> Tensor:
        return losses.complex_nmse(s, t) if temperature is None else losses.robust_nmse(s, t, temperature=temperature)

    weighted = [(how.mse, losses.complex_mse), (how.nmse, nmse), (how.coherence, losses.coherence_loss)]
    values = [weight * loss(student, teacher) for weight, loss in weighted if weight > 0]
    return torch.stack(values).sum(0)


@dataclass(frozen=True)
class LineOutputs:
    """Focused lines of the student against the teacher's."""

    student_paths: ClassVar[tuple[str, ...]] = ()
    teacher_paths: ClassVar[tuple[str, ...]] = ()
    compares_samples: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    how: ComplexLoss
    temperature: float | None
    weight: float
    valid: slice

    def build(self, student: OutputSpec, teacher: OutputSpec) -> OutputSignal:
        """The signal."""
        return OutputSignal(self)


@dataclass(frozen=True)
class LineFeatures:
    """Hidden lines of the student against the teacher's, pair by pair of module paths."""

    reads_labels: ClassVar[bool] = False
    pairs: tuple[tuple[str, str], ...]
    loss: Literal["projection", "cka"]
    weight: float
    valid: slice

    @property
    def student_paths(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return tuple(ours for ours, _ in self.pairs)

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """Paths to tap in the teacher."""
        return tuple(theirs for _, theirs in self.pairs)

    @property
    def compares_samples(self) -> bool:
        """True of cka."""
        return self.loss == "cka"

    def build(self, student: OutputSpec, teacher: OutputSpec) -> LineFeatureSignal:
        """The signal."""
        return LineFeatureSignal(self, student, teacher)


class OutputSignal(Signal):
    """`distillation`: (B,) distance of focused lines; its weight follows the objective's curriculum."""

    def __init__(self, config: LineOutputs) -> None:
        super().__init__("distillation", config.weight)
        self.config = config

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) in the valid region."""
        config = self.config
        student, teacher = (out.logits[:, config.valid] for out in (student_out, teacher_out))
        return measure(student, teacher, config.how, temperature=config.temperature)


class LineFeatureSignal(Signal):
    """`feature`: NMSE after a learned complex linear map, or complex CKA, as a mean over the pairs of layers; 0-d."""

    def __init__(self, config: LineFeatures, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__("feature", config.weight)
        self.config = config
        widths = [(student.features[ours][-1], teacher.features[theirs][-1]) for ours, theirs in config.pairs]
        self.projections = nn.ModuleList(ComplexLinear(*pair) for pair in widths if config.loss == "projection")

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """In the valid region."""
        values = []
        for place, (ours, theirs) in enumerate(self.config.pairs):
            s = student_out.features[ours][:, self.config.valid]
            t = teacher_out.features[theirs][:, self.config.valid].detach()
            if self.config.loss == "cka":
                values.append(cka_loss(s.reshape(-1, s.shape[-1]), t.reshape(-1, t.shape[-1])))
            else:
                values.append(losses.complex_nmse(self.projections[place](s), t, floor=FEATURE_FLOOR).mean())
        return torch.stack(values).mean()


def refused(place: str, signals: Sequence[Any]) -> str | None:
    """One line on the first signal that cannot work here."""
    reasons = ((n, signal.kind, unsupported_reason(signal)) for n, signal in enumerate(signals))
    return next((f"{place}.{n} ({kind}): {why}" for n, kind, why in reasons if why), None)
