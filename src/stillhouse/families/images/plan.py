"""A run of ordinary students: what every run with classes has, on images or labelled texts. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.classification.data import ClassesDataConfig, DataConfig
from stillhouse.classification.plan import ClassesRunConfig
from stillhouse.classification.students import OrdinaryStudentConfig, TimmStudentConfig
from stillhouse.core.config import configclass

ArmName = Literal["kd", "no-kd", "direct"]


@configclass
class ImagesRunConfig(ClassesRunConfig):
    """Everything that a run of ordinary students depends on; saved with the run."""

    data: ClassesDataConfig = Field(default_factory=DataConfig)
    student: OrdinaryStudentConfig = Field(default_factory=TimmStudentConfig)
    chain: tuple[OrdinaryStudentConfig, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    arms: tuple[ArmName, ...] = Field(
        default=("kd", "no-kd"), min_length=1, description="kd: taught; no-kd: labels alone; direct: without the chain"
    )
