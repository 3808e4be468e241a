"""What a task of students gives the shared run: its data, teachers, arms, jobs and scores. No torch at run time.

A task is one package in `tasks/`. The run (`core.experiment`), the summary, the report and the commands are written once
against these classes and know no task by name; tasks do not know each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.checks import InputError
from stillhouse.core.machine import weight_bytes
from stillhouse.core.parts import Arm, Data, Metric, Objective, Scores, TeacherCheck

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.cache.queries import TeacherQueries
    from stillhouse.core.exports import Target
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.plan import Stage
    from stillhouse.core.predict import Predictor
    from stillhouse.curricula import Curriculum
    from stillhouse.report.blocks import Block
    from stillhouse.training.job import Job

C = TypeVar("C")
D = TypeVar("D", bound="Data")


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


class Results(ABC):
    """What a task makes of the files of its runs: reports, comparisons, exported students in use. Nothing of it needs torch.

    It is in `tasks/KIND/results.py`, and the task itself, which trains, inherits from it.

    Attributes:
        kind: in `run.json`; also the name of the package.
        title: in one line, for help and reports.
        metrics: the first one is the headline.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    @abstractmethod
    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """What a report shows beyond what all tasks share; reads files only."""

    def load_exported(self, place: Path) -> Predictor | None:
        """An exported student of this task that needs no torch, ready to be used; None where `place` is none.

        Raises:
            InputError: it is one, and was changed since.
        """
        return None


class Task(Results, Generic[C, D]):
    """The methods by which the shared run knows a task.

    Attributes:
        Config: a run (a subclass of `RunPlan`).
        TeacherRun: a training of a teacher; None where teachers come from elsewhere.
        objective: by what a sweep compares validations.
    """

    Config: ClassVar[type]
    TeacherRun: ClassVar[type | None] = None
    objective: ClassVar[Objective] = Objective()

    # ------------------------------------------------------------------------------------------------ before training

    @abstractmethod
    def data(self, config: C, log: Callable[[str], None]) -> D:
        """Read, check and split the data of a run; refuse what can be refused before a teacher is loaded."""

    @abstractmethod
    def teachers(self, config: C, data: D, given: Any, log: Callable[[str], None]) -> Sequence[Any]:
        """Every teacher of a run, the one that students are compared with last; each has a `fingerprint`.

        Args:
            config: of the run.
            data: ready data.
            given: a ready teacher that takes the place of the configured one; None for none.
            log: gets a line for each.
        """

    @abstractmethod
    def teacher_check(self, teacher: Any, config: C, data: D) -> TeacherCheck:
        """Score a teacher on the validation split against chance."""

    def teacher_queries(self, config: C, data: D, teacher: Any, features: Sequence[str] = ()) -> TeacherQueries:
        """The rows that a teacher of a run is asked about, for `stillhouse cache`.

        Args:
            config: of the run.
            data: ready data.
            teacher: the last of `teachers`.
            features: paths of sub-modules whose outputs are wanted beside its scores.
        """
        raise InputError(f"cache: task {self.kind!r} has no teacher whose answers could be kept")

    def stage_teachers(self, context: RunContext[C, D], assistants: Sequence[Any] = ()) -> Sequence[Any]:
        """Whom a taught student listens to, one a stage; None where a stage listens to nobody.

        Args:
            context: of the run.
            assistants: trained before it, the one that teaches last; the teacher's place is theirs.
        """
        return (context.teacher,) * len(context.config.stages_of(True))  # type: ignore[attr-defined]

    def before_training(self, context: RunContext[C, D]) -> None:
        """Say what is to be known before the first arm of a run is trained; most tasks say nothing."""
        return

    def of_seed(self, context: RunContext[C, D], seed: int) -> RunContext[C, D]:
        """The run as one seed sees it, where seeds differ in their data (the rows whose labels are known)."""
        return context

    # ------------------------------------------------------------------------------------------------ training

    @abstractmethod
    def arms(self, config: C) -> Sequence[Arm]:
        """Every arm of a run in the order of the report, with what it is held against; the first contrast is the verdict."""

    @abstractmethod
    def student(self, arm: Arm, choice: Any, seed: int, context: RunContext[C, D]) -> nn.Module:
        """Build a network (`choice`: the arm's student, or an assistant's configuration); the seed has been set."""

    @abstractmethod
    def job(self, stage_context: StageContext[C, D]) -> Job:
        """The job of one stage of one arm."""

    def difficulty(self, judge: Any, context: RunContext[C, D]) -> tuple[np.ndarray, np.ndarray | None]:
        """How hard each training row is to a judge (a teacher or a student), and its class; for a curriculum.

        Returns:
            (N,) high is hard; (N,) class numbers, or None where a curriculum cannot take each class in proportion.
        """
        raise InputError(f"curriculum: task {self.kind!r} has no measure of how hard a row is; leave curriculum out")

    def train_teacher(self, config: Any, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Train a teacher (`config`: a `TeacherRun`) into a run folder; a line with its scores, and one that says how to use it."""
        raise InputError(f"task {self.kind!r} trains no teachers")

    # ------------------------------------------------------------------------------------------------ afterwards

    @abstractmethod
    def score(self, model: Any, arm: Arm | None, seed: int, context: RunContext[C, D]) -> Scores | None:
        """Score a student on the test split, or the teacher (no arm) after all of them; None where that means nothing."""

    def finish(self, context: RunContext[C, D], summary: dict[str, Any]) -> None:
        """Write what only a finished run has (pictures, comparisons with filters) and add to its summary."""

    @abstractmethod
    def save(self, folder: Path, model: Any, choice: Any, context: RunContext[C, D]) -> None:
        """Write the student that others load; `choice` is the configuration that it was built from."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Read it back, in eval mode on the CPU."""

    def cost(self, folder: Path) -> dict[str, float]:
        """What a saved student costs, by kind (see `COSTS`): counted, or measured on this machine; reads no test rows."""
        module = self.load(folder)
        return {"params": float(sum(p.numel() for p in module.parameters())), **weight_bytes(folder)}

    def predictor(self, folder: Path) -> Predictor:
        """A saved student that takes inputs as users have them (see `stillhouse.load`).

        Raises:
            InputError: the task has none.
        """
        raise InputError(f"task {self.kind!r} has no predict")

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a saved student on the test split of its own run, or of other data."""
        raise InputError(f"task {self.kind!r} has no evaluate")

    def exports(self) -> Mapping[str, Target]:
        """Forms that a student can be written in (`stillhouse export`), by name."""
        return {}


def reference_arm(arms: Sequence[Arm]) -> Arm:
    """The arm that users get: `kd`, else the first one that is taught, else the untaught student.

    Example:
        >>> reference_arm([Arm("no-kd", "net", False), Arm("kd", "net", True)]).name
        'kd'
    """
    trained = [arm for arm in arms if arm.fit is None]
    return min(trained, key=lambda arm: (arm.name != "kd", not arm.taught, arm.name != "no-kd"))
