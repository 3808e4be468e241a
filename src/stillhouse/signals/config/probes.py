"""Linear read-outs at places of the student: what each of them knows, and, if asked, a loss that reaches the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Layout

if TYPE_CHECKING:
    from stillhouse.signals.probes import ProbeSignal


@configclass
class ProbesConfig:
    """A linear classifier at each place, trained on detached features: its accuracy says what is known there.

    With a weight, the same classifiers are auxiliary heads too: their loss then reaches the student, but not themselves, so
    that the measurement does not depend on the weight. Needs no teacher.

    Source: Alain, Bengio 2016, arXiv:1610.01644 (probes); Lee et al. 2015, arXiv:1409.5185 (auxiliary heads).
    """

    needs_teacher: ClassVar[bool] = False

    kind: Literal["probes"] = "probes"
    places: tuple[str, ...] = Field(min_length=1, description="paths of the student's sub-modules that are read")
    layout: Layout = Field(default="auto", description="axes of their outputs; auto: by their number")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing of their cross-entropy")
    weight: float = Field(default=0.0, ge=0, description="factor of their loss on the student; 0: only measured")

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"places: expected each path once, got {', '.join(self.places)}")

    def student_features(self) -> tuple[str, ...]:
        """Paths to tap in the student."""
        return self.places

    def build(self, student: OutputSpec, teacher: OutputSpec | None = None) -> ProbeSignal:
        """The signal; the teacher, if there is one, is not heard."""
        from stillhouse.signals.probes import ProbeSignal

        return ProbeSignal(self, student)
