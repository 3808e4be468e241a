"""What all arms of a run share: configuration, data, teachers, folder, the teacher's checks; and what one training is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.folder import RunFolder
from stillhouse.core.parts import Arm, TeacherCheck

if TYPE_CHECKING:
    from pathlib import Path

    from stillhouse.core.plan import Stage
    from stillhouse.curricula import Curriculum

C = TypeVar("C")
D = TypeVar("D")


@dataclass
class RunContext(Generic[C, D]):
    """Everything an arm needs besides its own name and seed.

    Attributes:
        config: of the run.
        data: ready data.
        folder: of the run.
        teachers: all of them, the one that students are compared with last.
        teacher_checks: their checks.
        resume: continue what is unfinished.
        callback: who is kept informed.
        shared: what a task made once for all arms (a cache, a graph), by its own names.
        stage_teachers: whom taught arms listen to, one a stage.
        given: a ready teacher that took the place of the configured ones; None for none.
    """

    config: C
    data: D
    folder: RunFolder
    teachers: Sequence[Any] = ()
    teacher_checks: Sequence[TeacherCheck] = ()
    resume: bool = False
    callback: Callback = NULL_CALLBACK
    shared: dict[str, Any] = field(default_factory=dict)
    stage_teachers: Sequence[Any] = ()
    given: Any = None

    @property
    def teacher(self) -> Any:
        """The teacher that students are compared with; None where there is none."""
        return self.teachers[-1] if self.teachers else None

    @property
    def teacher_check(self) -> TeacherCheck | None:
        """Its check."""
        return self.teacher_checks[-1] if self.teacher_checks else None

    def place(self, arm: str, seed: int) -> Path:
        """The folder of one arm and seed."""
        return self.folder.arm(arm, seed)


@dataclass(frozen=True)
class StageContext(Generic[C, D]):
    """What a job is made of.

    Attributes:
        student: the network, in place.
        stage: training, signals and their teacher.
        arm: of which it is a part.
        seed: of the arm.
        number: of the stage, from 0.
        stage_teacher: whom the signals listen to; None for an arm that is not taught.
        curriculum: which rows come first; None for a plain shuffle.
        context: what all arms share.
    """

    student: Any
    stage: Stage
    arm: Arm
    seed: int
    number: int
    stage_teacher: Any
    curriculum: Curriculum | None
    context: RunContext[C, D]

    @property
    def job_seed(self) -> int:
        """Decides the order of the rows; another one each stage."""
        return self.seed + 1000 * self.number
