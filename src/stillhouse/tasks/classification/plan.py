"""A run that learns classes: what every such run has, its students, and how those of clauses start and are controlled. No torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from stillhouse.classification.data import ClassesDataConfig, DataConfig
from stillhouse.classification.plan import ClassesRunConfig
from stillhouse.classification.training import ClassificationTrainingConfig
from stillhouse.core.config import configclass
from stillhouse.tasks.classification.students import TsetlinViTConfig
from stillhouse.tasks.classification.students.kinds import StudentConfig, has_clauses

ArmName = Literal["kd", "no-kd", "self-trained", "direct", "clauses-off", "mlp"]
WITH_HEADS = {"unified-tm", "tsetlin-vit"}  # students whose attention heads can be weighed by their clauses


def usual_arms(student: Any, data: Any) -> tuple[ArmName, ...]:
    """The arms of a run that names none."""
    limited = getattr(data, "label_limit", None) is not None
    few: tuple[ArmName, ...] = ("self-trained",) if limited else ()
    return ("kd", "no-kd", *few, "clauses-off") if has_clauses(student) else ("kd", "no-kd", *few)


@configclass
class RunTrainingConfig(ClassificationTrainingConfig):
    """Knobs of training, and how strongly clauses weigh attention heads."""

    clause_specialize: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far attention heads are weighed by the clauses they feed, each epoch; 0: off",
    )


@configclass
class ClassificationRunConfig(ClassesRunConfig):
    """Everything that a run with classes depends on; saved with the run."""

    data: ClassesDataConfig = Field(default_factory=DataConfig)
    student: StudentConfig = Field(default_factory=TsetlinViTConfig)
    training: RunTrainingConfig = Field(default_factory=RunTrainingConfig)
    prior: Literal["none", "symmetric", "zero"] = Field(
        default="none",
        description="how include logits of clauses start: drawn; in complementary pairs; all close to the threshold",
    )
    teacher_assistants: tuple[StudentConfig, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    arms: tuple[ArmName, ...] = Field(
        default=(),
        validate_default=True,
        description="kd: taught; no-kd: labels alone; self-trained: its own answers as labels of rows without one; direct: "
        "without the chain; of clauses also clauses-off: no clause branch, and mlp: an MLP there; empty: kd, no-kd, under "
        "data.label_limit self-trained, and of clauses clauses-off",
    )

    @field_validator("arms")
    @classmethod
    def _named(cls, arms: tuple[ArmName, ...], info: Any) -> tuple[ArmName, ...]:
        return arms or usual_arms(info.data.get("student"), info.data.get("data"))

    def __post_init__(self) -> None:
        super().__post_init__()
        student = self.student
        if self.training.clause_specialize > 0 and student.kind not in WITH_HEADS:
            raise ValueError(
                f"training.clause_specialize: weighs attention heads, and a student of kind {student.kind!r} has none"
            )
        if has_clauses(student):
            return
        if self.prior != "none":
            raise ValueError(f"prior: starts clauses, and a student of kind {student.kind!r} has none")
        if lost := [arm for arm in self.arms if arm in ("clauses-off", "mlp")]:
            raise ValueError(
                f"arms: {lost[0]!r} is a control of clauses, and a student of kind {student.kind!r} has none"
            )
