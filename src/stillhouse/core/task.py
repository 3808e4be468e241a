"""What a task of students gives the shared run: its data, teacher, arms, jobs and scores. No torch at run time.

A task is one package in `tasks/`. The run (`core.experiment`), the summary, the report and the commands are written once
against this class and know no task by name; tasks do not know each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.costs import weight_bytes
from stillhouse.core.parts import (
    Arm as Arm,
)
from stillhouse.core.parts import (
    Contrast as Contrast,
)
from stillhouse.core.parts import (
    Data as Data,
)
from stillhouse.core.parts import (
    Metric as Metric,
)
from stillhouse.core.parts import (
    Scores as Scores,
)
from stillhouse.core.parts import (
    TeacherAtChance as TeacherAtChance,
)
from stillhouse.core.parts import (
    TeacherCheck as TeacherCheck,
)
from stillhouse.core.parts import (
    use_of as use_of,
)

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.cache.queries import TeacherQueries
    from stillhouse.core.callback import Callback
    from stillhouse.core.context import RunContext, StageContext
    from stillhouse.core.exports import Target
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block
    from stillhouse.training.job import Job

C = TypeVar("C")
D = TypeVar("D", bound="Data")


class Light(ABC):
    """What a task does with files alone: reports, comparisons, exported students in use. Nothing of it needs torch.

    It is in `tasks/KIND/light.py`, and the task itself, which trains, inherits from it.

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

    def further_items(self, run: RunFolder, arm: str, seed: int) -> Mapping[str, np.ndarray]:
        """(N,) values that need the teacher's test outputs too (agreement), once every arm is trained."""
        return {}

    def incomparable_reason(self, run: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Why the test items of two runs (their `run.json`) are not the same; None where they are, one by one."""
        return other_test(run.get("data"), other.get("data"))

    def cost(self, folder: Path) -> dict[str, float]:
        """What a saved student costs, by kind (see `COSTS`): counted, or measured on this machine; reads no test rows.

        Raises:
            InputError: it has to be loaded for that, and torch is not installed.
        """
        raise InputError("counted in torch, which is not installed: pip install 'stillhouse[train]'")

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """What a student with this card does, by the name that model hubs have for it; empty where they have none."""
        return ""

    def load_exported(self, place: Path) -> Predictor | None:
        """An exported student of this task that needs no torch, ready to be used; None where `place` is none.

        Raises:
            InputError: it is one, and was changed since.
        """
        return None


class Task(Light, Generic[C, D]):
    """The methods by which the shared run knows a task.

    Attributes:
        Config: a run (a subclass of `RunPlan`).
        TeacherRun: a training of a teacher; None where teachers come from elsewhere.
        may_grow: keys of the configuration that may grow on resume.
    """

    Config: ClassVar[type]
    TeacherRun: ClassVar[type | None] = None
    may_grow: ClassVar[tuple[str, ...]] = ("seeds", "arms")
    may_change: ClassVar[tuple[str, ...]] = ()
    may_hold: ClassVar[tuple[str, ...]] = ()
    validated: ClassVar[str] = "validation score"  # what `objective` gives, in words
    validated_in_percent: ClassVar[bool] = False  # whether it is a share, which a sweep shows in per cent
    objective: ClassVar[int] = (
        0  # the entry of `Validation.rank` by which a sweep compares validations, larger is better
    )

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """Whether a run as plain data (a YAML file) is one of this task."""
        return False

    def rebased(self, base: Any, mapping: dict[str, Any]) -> dict[str, Any]:
        """What is left of a recipe (`base`; None: no recipe) whose settings were changed (`mapping`), where some fit no more."""
        return mapping

    # ------------------------------------------------------------------------------------------------ a teacher of one's own

    def owns_teacher(self, mapping: Mapping[str, Any]) -> bool:
        """Whether the training of a teacher as plain data (a YAML file) is one of this task."""
        return False

    def teacher_settings(self, path: str, mapping: dict[str, Any]) -> dict[str, Any]:
        """What a file without a recipe means as settings of `TeacherRun`; `mapping` is what stands in it."""
        return mapping

    def train_teacher(self, config: Any, out: Path, *, resume: bool, callback: Callback) -> Sequence[str]:
        """Train a teacher (`config`: a `TeacherRun`) into a run folder; a line with its scores, and one that says how to use it."""
        raise InputError(f"task {self.kind!r} trains no teachers")

    # ------------------------------------------------------------------------------------------------ before training

    @abstractmethod
    def data(self, config: C, log: Callable[[str], None]) -> D:
        """Read, check and split the data of a run."""

    def facts(self, data: D) -> dict[str, Any]:
        """The entry on the data in `run.json` and the report; compared on resume by `sha256`."""
        return {"name": data.name, "sizes": dict(data.sizes), "sha256": data.sha256}

    def resolve_config(self, config: C, named: AbstractSet[str]) -> C:
        """A configuration with what settings that were named beside a recipe or file (`teacher.source`) bring with them."""
        return config

    def check(self, config: C, data: D) -> None:
        """Raise InputError for what can be refused before a teacher is loaded."""

    def unsupported_reason(self, signal: Any) -> str | None:
        """Why a signal's configuration cannot work in this task, in one line; None: the tensors that it compares exist.

        `docs/matrix.md` is printed from these answers. A path that names no sub-module is found later, when a signal is built.
        """
        return None

    @abstractmethod
    def teachers(self, config: C, data: D, given: Any, log: Callable[[str], None]) -> Sequence[Any]:
        """Every teacher of a run, the one that students are compared with last; empty where there is none.

        Args:
            config: of the run.
            data: ready data.
            given: a ready teacher that takes the place of the configured one; None for none.
            log: gets a line for each.
        """

    @abstractmethod
    def fingerprint(self, teacher: Any) -> str:
        """SHA-256 of this teacher, compared on resume."""

    @abstractmethod
    def teacher_check(self, teacher: Any, config: C, data: D) -> TeacherCheck:
        """Score a teacher on the validation split against chance."""

    def prepare(self, context: RunContext[C, D]) -> None:
        """Make once what all arms use (a cache of the teacher's outputs, a graph of neighbours), into `context.shared`."""

    def of_seed(self, context: RunContext[C, D], seed: int) -> RunContext[C, D]:
        """The run as one seed sees it, where seeds differ in their data (the rows whose labels are known)."""
        return context

    def stage_teachers(self, context: RunContext[C, D]) -> Sequence[Any]:
        """Whom the taught arms listen to, one a stage; None where a stage listens to nobody."""
        return (context.teacher,) * len(context.config.stages_of(True))  # type: ignore[attr-defined]

    def teacher_queries(self, config: C, data: D, teacher: Any, features: Sequence[str] = ()) -> TeacherQueries:
        """The rows that a teacher of a run is asked about, for `stillhouse cache`.

        Args:
            config: of the run.
            data: ready data.
            teacher: the last of `teachers`.
            features: paths of sub-modules whose outputs are wanted beside its scores.
        """
        raise InputError(f"cache: task {self.kind!r} has no teacher whose answers could be kept")

    # ------------------------------------------------------------------------------------------------ training

    @abstractmethod
    def arms(self, config: C) -> Sequence[Arm]:
        """Every arm of a run, in the order of the report."""

    @abstractmethod
    def contrasts(self, config: C) -> Sequence[Contrast]:
        """What is compared with what; the first is the verdict."""

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

    def as_stage_teacher(self, students: Sequence[Any], context: RunContext[C, D]) -> Any:
        """A trained assistant, or several together with the first teacher, as the teacher of the next link of a chain.

        Args:
            students: assistants so far, the newest last; one of them if only the last teaches.
            context: of the run.
        """
        raise InputError(f"teacher_assistants: task {self.kind!r} trains no assistants; leave teacher_assistants out")

    # ------------------------------------------------------------------------------------------------ afterwards

    @abstractmethod
    def score(self, model: Any, arm: Arm, seed: int, context: RunContext[C, D]) -> Scores:
        """Score a student on the test split."""

    def score_teacher(self, context: RunContext[C, D]) -> Scores | None:
        """Score the teacher on the test split, after every arm is trained; None where that means nothing."""
        return None

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

    def on_run_end(self, context: RunContext[C, D], summary: dict[str, Any]) -> None:
        """Write what only a finished run has (pictures, comparisons with filters) and add to its summary."""

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a saved student on the test split of its own run, or of other data."""
        raise InputError(f"task {self.kind!r} has no evaluate")

    def exports(self) -> Mapping[str, Target]:
        """Forms that a student can be written in (`stillhouse export`), by name."""
        return {}


def other_test(data: Any, other: Any) -> str | None:
    """Why two runs were not tested on the same rows, by the `data` of their `run.json`; None: fingerprints agree.

    Example:
        >>> other_test({"test_sha256": "ab", "sha256": "1"}, {"test_sha256": "ab", "sha256": "2"}) is None
        True
        >>> other_test({"sha256": "1"}, {"sha256": "2"})
        'other data (sha256 1 and 2)'
    """
    both = [one if isinstance(one, Mapping) else {} for one in (data, other)]
    for key, words in (("test_sha256", "another test split"), ("sha256", "other data")):
        a, b = (one.get(key) for one in both)
        if a is not None and b is not None:
            return None if a == b else f"{words} (sha256 {str(a)[:12]} and {str(b)[:12]})"
    return "one of them names no fingerprint of its data"


def reference_arm(arms: Sequence[Arm]) -> Arm:
    """The arm that users get: `kd`, else the first one that is taught, else the untaught student.

    Example:
        >>> reference_arm([Arm("no-kd", "net", False), Arm("kd", "net", True)]).name
        'kd'
    """
    trained = [arm for arm in arms if arm.fit is None]
    return min(trained, key=lambda arm: (arm.name != "kd", not arm.taught, arm.name != "no-kd"))
