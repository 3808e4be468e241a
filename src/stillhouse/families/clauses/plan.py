"""A run of clause students: what every run with classes has, and how clauses start and are controlled. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.classification.data import DataConfig
from stillhouse.classification.plan import ClassesRunConfig
from stillhouse.classification.training import ClassificationTrainingConfig
from stillhouse.core.config import configclass
from stillhouse.families.clauses.students import TsetlinViTConfig
from stillhouse.families.clauses.students.kinds import AssistantConfig, ClauseStudentConfig

ArmName = Literal["kd", "no-kd", "direct", "clauses-off", "mlp"]
WITH_HEADS = {"unified-tm", "tsetlin-vit"}  # students whose attention heads can be weighed by their clauses


@configclass
class ClausesTrainingConfig(ClassificationTrainingConfig):
    """Knobs of training, and how strongly clauses weigh attention heads."""

    clause_specialize: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far attention heads are weighed by the clauses they feed, each epoch; 0: off",
    )


@configclass
class ClausesRunConfig(ClassesRunConfig):
    """Everything that a run of clause students depends on; saved with the run."""

    data: DataConfig = Field(default_factory=DataConfig)
    student: ClauseStudentConfig = Field(default_factory=TsetlinViTConfig)
    training: ClausesTrainingConfig = Field(default_factory=ClausesTrainingConfig)
    prior: Literal["none", "symmetric", "zero"] = Field(
        default="none",
        description="how include logits of clauses start: drawn; in complementary pairs; all close to the threshold",
    )
    chain: tuple[AssistantConfig, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    arms: tuple[ArmName, ...] = Field(
        default=("kd", "no-kd", "clauses-off"),
        min_length=1,
        description="kd: taught; no-kd: labels alone; direct: without the chain; clauses-off: no clause branch; mlp: an MLP there",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.clause_specialize > 0 and self.student.kind not in WITH_HEADS:
            raise ValueError(
                f"training.clause_specialize: weighs attention heads, and a student of kind {self.student.kind!r} has none"
            )
