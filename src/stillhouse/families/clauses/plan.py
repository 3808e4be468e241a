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
class ClauseTransferConfig:
    """Which clauses of a wide machine a narrow one starts with; it is of the same kind, and has fewer clauses.

    `best` are those with the largest product of vote (the sum of its sizes over classes) and mean strength on training images:
    what a clause adds to the scores. Of voting `team`, as many of every class for it and against it. `random` is the control.

    Source: Kinateder et al. 2025, arXiv:2504.01798 (clause-based distillation between Tsetlin machines).
    """

    run: str = Field(
        default="runs/wide", min_length=1, description="run folder of the wide machine, or the folder of a student"
    )
    pick: Literal["best", "random"] = Field(default="best", description="which of its clauses")
    rows: int = Field(default=2000, gt=0, description="training images on which clauses are weighed")


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
    start_from: ClauseTransferConfig | None = Field(
        default=None, description="taught students start with the best clauses of a wider machine (clause transfer)"
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
        if self.start_from is not None and self.prior != "none":
            raise ValueError(
                f"prior: {self.prior!r} does nothing where clauses start from a wider machine; leave it out"
            )
        if self.start_from is not None and ("kd" not in self.arms or self.inherit):
            raise ValueError("start_from: is how arm 'kd' starts; expected that arm, and no `inherit`")
        if self.training.clause_specialize > 0 and self.student.kind not in WITH_HEADS:
            raise ValueError(
                f"training.clause_specialize: weighs attention heads, and a student of kind {self.student.kind!r} has none"
            )
