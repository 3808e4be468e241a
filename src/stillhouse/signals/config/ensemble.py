"""How several teachers are weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.types import OutputSpec
from stillhouse.signals.config.features import Layout

if TYPE_CHECKING:
    from stillhouse.signals.ensemble import EnsembleSignal

Pool = Literal["mean-probabilities", "mean-logits", "confidence", "gradient", "learned", "diverse"]


@configclass
class EnsembleConfig:
    """Learn from several teachers: T^2 KL from their pooled class probabilities, weighed in one of these ways.

    - `mean-probabilities`: equal weights (the same gradient as the mean of the KLs to each).
    - `mean-logits`: the geometric pool, equal weights; a class survives only if every teacher lets it.
    - `confidence`: for each sample less weight to the teacher that is further from the label (CA-MKD); nothing is learned.
    - `gradient`: for each batch the weights whose common direction is one that no teacher is against (AE-KD). It favors the
      teacher that is nearest to the student and cannot tell a bad one: at the start that may be one at random. `upper` bounds it.
    - `learned`: weights for each sample from a student feature (AMTML-KD), trained to make the pooled target right.
    - `diverse`: weights by asking each teacher's embedding, and answers mapped to the student's space (after DiverseDistill).

    Learned weights never see the distillation loss: it is smallest for the teacher that is nearest to the student, so they
    would choose the easiest one. They are trained by the cross-entropy of the pooled target with the labels, with the
    student's feature detached, and held off one teacher by their entropy.

    Source: Zhang et al. 2022, arXiv:2201.00007 (CA-MKD); Du et al. 2020 (AE-KD, NeurIPS); Liu, Zhang, Wang 2020,
    arXiv:2103.04062 (AMTML-KD); Liu et al. 2024, arXiv:2402.14035 (DiverseDistill).
    """

    kind: Literal["ensemble"] = "ensemble"
    pool: Pool = Field(default="mean-probabilities", description="how teachers are weighed")
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    temperatures: tuple[float, ...] = Field(
        default=(), description="one a teacher, on the teacher's side only; empty: temperature for all"
    )
    upper: float = Field(
        default=0.6, gt=0, le=1, description="pool gradient: largest weight of one teacher, at least 1/n"
    )
    student: str | None = Field(
        default=None, description="path of the student's sub-module that sets weights by sample; none: weights for all"
    )
    student_layout: Layout = Field(default="auto", description="axes of its output; auto: by their number")
    answers: tuple[str, ...] = Field(
        default=(),
        description="pool diverse: one feature a teacher, as 0:layer3, 1:blocks.2; empty: their class scores",
    )
    choice_weight: float = Field(
        default=1.0,
        gt=0,
        description="learned weights: factor of the cross-entropy of the pooled target with the labels",
    )
    entropy_weight: float = Field(
        default=0.01,
        ge=0,
        description="learned weights: factor of ln n minus their entropy, against choosing one teacher",
    )
    answer_weight: float = Field(
        default=0.1, ge=0, description="pool diverse: factor of the student's distance to the teachers' answer"
    )
    learning_rate: float = Field(default=0.01, gt=0, description="of learned weights; they never decay")
    weight: float = Field(default=1.0, ge=0, description="factor in the total loss")

    def __post_init__(self) -> None:
        if any(t <= 0 for t in self.temperatures):
            raise ValueError(f"temperatures: expected numbers above 0, got {self.temperatures}")
        if self.student is not None and self.pool not in ("learned", "diverse"):
            raise ValueError(f"student: does nothing under pool {self.pool!r}; it belongs to 'learned' and 'diverse'")
        if self.student is None and self.pool == "diverse":
            raise ValueError("student: pool 'diverse' asks with a feature of the student; expected a path, got none")
        if self.answers and self.pool != "diverse":
            raise ValueError(f"answers: does nothing under pool {self.pool!r}; it belongs to 'diverse'")

    def student_features(self) -> tuple[str, ...]:
        """Path to tap in the student."""
        return () if self.student is None else (self.student,)

    def teacher_features(self) -> tuple[str, ...]:
        """Paths to tap in the teachers, `i:path`."""
        return self.answers

    def build(self, student: OutputSpec, teacher: OutputSpec) -> EnsembleSignal:
        """The signal, for the spec of an `EnsembleTeacher`."""
        from stillhouse.signals.ensemble import EnsembleSignal

        return EnsembleSignal(self, student, teacher)
