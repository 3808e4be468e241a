"""What a family of students gives the shared run: its data, teacher, arms, jobs and scores. No torch at run time.

A family is one package in `families/`. The run (`core.experiment`), the summary, the report and the commands are written once
against this class and know no family by name; families do not know each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np

from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.costs import weight_bytes

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.cache.questions import Questions
    from stillhouse.core.exports import Target
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.lab import Lab
    from stillhouse.core.pipeline import Lesson
    from stillhouse.core.predict import Predictor
    from stillhouse.core.watch import Watch
    from stillhouse.report.blocks import Block
    from stillhouse.training.config import TrainingConfig
    from stillhouse.training.job import Job

C = TypeVar("C")
D = TypeVar("D", bound="Data")


class TeacherAtChance(StillhouseError):
    """The teacher is no better than guessing, so nothing can be learned from it. The command line exits with status 3."""


class Data(Protocol):
    """What a run must know of any data set."""

    @property
    def name(self) -> str:
        """As reports show it."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Rows of every split."""
        ...

    @property
    def sha256(self) -> str:
        """Fingerprint of all rows of all splits, so that a run never continues on other data."""
        ...


@dataclass(frozen=True)
class Metric:
    """A figure of a student on the test split.

    Attributes:
        name: key in `Scores.items` and in `summary.json`.
        label: as tables name it.
        unit: of a difference, as in a sentence ("points", "bits per byte").
        items: what one value is measured on ("test images", "windows").
        lower_is_better: so that a verdict turns its sign.
        scale: what values are multiplied with before they are shown (100 for percentages).
        digits: decimals that are shown.
        low: the least that it can be.
        high: the most that it can be.
    """

    name: str
    label: str
    unit: str = ""
    items: str = "test rows"
    lower_is_better: bool = False
    scale: float = 1.0
    digits: int = 4
    low: float = -float("inf")
    high: float = float("inf")


@dataclass(frozen=True)
class Contrast:
    """An arm held against its control by one metric; the first contrast of a family is the verdict on the teacher."""

    name: str
    arm: str
    control: str
    metric: str
    always: bool = False  # listed as "not tested" where an arm is missing


@dataclass(frozen=True)
class Arm:
    """One way to get a student.

    Attributes:
        name: of the folder and in tables.
        student: the configuration of its network; None for what is fitted without training.
        taught: whether the teacher is heard.
        seeds: how many times it is trained (0, 1, ...).
        chain: assistants between teacher and student, largest first.
        fit: of what needs no training by the shared loop (PCA, an n-gram): (lab, seed) -> model.
        about: what it is, in words.
        plain: what a reader calls it, of a model fitted on the same labels that any student should be above.
    """

    name: str
    student: Any
    taught: bool
    seeds: int = 1
    chain: tuple[Any, ...] = ()
    fit: Callable[[Lab[Any, Any], int], Any] | None = None
    about: str = ""
    plain: str = ""

    @property
    def trains(self) -> bool:
        """Whether it counts as a training where trainings are counted."""
        return self.fit is None


@dataclass(frozen=True)
class Grade:
    """A teacher's own score on the validation split, before anything is learned from it.

    Attributes:
        name: of the teacher.
        score: how good it is; larger is better.
        low: lower end of the score's 95 % interval (the score itself where there is none).
        chance: what guessing gets on the same rows.
        metric: what the score is.
        facts: further figures (calibration, number of weights) for `teacher.json`.
        as_percent: whether the score is a share.
        detail: shown after it.
        plain: what a cheap model that nobody taught gets on the same rows; None where there is none.
        plain_name: of that model.

    Example:
        >>> Grade("net", score=0.12, low=0.09, chance=0.10, metric="accuracy").ready
        False
        >>> poor = Grade("net", -3.9, -3.92, -5.8, "log-likelihood a token", plain=-3.4, plain_name="a 5-gram")
        >>> poor.ready, poor.status
        (True, 'poor')
    """

    name: str
    score: float
    low: float
    chance: float
    metric: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    as_percent: bool = False
    detail: str = ""
    plain: float | None = None
    plain_name: str = ""

    @property
    def ready(self) -> bool:
        """Whether it is better than chance by more than its interval; NaN is not."""
        return self.low > self.chance

    @property
    def status(self) -> Literal["ready", "poor", "at chance"]:
        """The same in words; `poor` is better than chance and behind the plain model."""
        if not self.ready:
            return "at chance"
        return "poor" if self.plain is not None and self.score < self.plain else "ready"

    def describe(self) -> str:
        """One line: score against chance, and whether it is fit to teach."""
        form = "{:.2%}" if self.as_percent else "{:.4f}"
        words = [f"{name} {value}" for name, value in self.facts.items() if isinstance(value, str)]
        more = "".join(f", {word}" for word in (*words, self.detail) if word)
        plain = "" if self.plain is None else f", {self.plain_name} {form.format(self.plain)}"
        why = f"; {self.plain_name} is better, so a student learns more from the data than from this teacher"
        why *= self.status == "poor"
        return (
            f"teacher: {self.name}, validation {self.metric} {form.format(self.score)} "
            f"(chance {form.format(self.chance)}{plain}){more}: {self.status}{why}"
        )

    def use(self, how: str) -> str:
        """What a teacher that was just trained is good for; `how` is what names it on a command line.

        Example:
            >>> Grade("net", score=0.9, low=0.8, chance=0.1, metric="accuracy").use("teacher.source=ckpt:net")
            'use it as teacher.source=ckpt:net'
            >>> Grade("net", score=0.1, low=0.05, chance=0.1, metric="accuracy").use("teacher.source=ckpt:net")
            'at chance (validation accuracy 0.1000, chance 0.1000): nothing can be learned from it; train it longer or otherwise'
        """
        form = "{:.2%}" if self.as_percent else "{:.4f}"
        score, chance = form.format(self.score), form.format(self.chance)
        if self.status == "at chance":
            return (
                f"at chance (validation {self.metric} {score}, chance {chance}): nothing can be learned from it; train it longer "
                "or otherwise"
            )
        if self.status == "poor":
            assert self.plain is not None
            return (
                f"a poor teacher (validation {self.metric} {score}, {self.plain_name} {form.format(self.plain)}): a student learns "
                f"more from the data; {how} names it all the same"
            )
        return f"use it as {how}"

    def to_fields(self) -> dict[str, Any]:
        """All of it as plain data, of which `Grade(**fields)` is made again."""
        return {**asdict(self), "facts": dict(self.facts)}

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for `teacher.json`."""
        named = {n: getattr(self, n) for n in ("name", "score", "low", "chance", "metric", "status")}
        beside = {} if self.plain is None else {"plain": self.plain, "plain_name": self.plain_name}
        return {**named, **beside, **self.facts}


def use_of(result: Mapping[str, Any], how: str) -> str:
    """`Grade.use` of a finished training of a teacher (its `result.json`); earlier versions kept no grade."""
    return Grade(**result["grade"]).use(how) if "grade" in result else f"{how} names it as a teacher"


@dataclass(frozen=True)
class Scores:
    """What a model got on the test split, which is read once.

    Attributes:
        items: (N,) a metric, one value a test item, in an order that all models share.
        scalars: figures that no single item has (ECE, perplexity).
        arrays: further files for the arm's folder: file name -> named arrays.
        facts: further entries of `result.json` (spikes, cost).
    """

    items: Mapping[str, np.ndarray]
    scalars: Mapping[str, float | None] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Light(ABC):
    """What a family does with files alone: reports, comparisons, exported students in use. Nothing of it needs torch.

    It is in `families/KIND/light.py`, and the family itself, which trains, inherits from it.

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
        """What a report shows beyond what all families share; reads files only."""

    def further_items(self, run: RunFolder, arm: str, seed: int) -> Mapping[str, np.ndarray]:
        """(N,) values that need the teacher's test outputs too (agreement), once every arm is trained."""
        return {}

    def unlike(self, run: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Why the test items of two runs (their `run.json`) are not the same; None where they are, one by one."""
        return other_test(run.get("data"), other.get("data"))

    def cost(self, folder: Path) -> dict[str, float]:
        """What a saved student costs, by kind (see `COSTS`): counted, or measured on this machine; reads no test rows.

        Raises:
            InputError: it has to be loaded for that, and torch is not installed.
        """
        raise InputError("counted in torch, which is not installed: pip install 'stillhouse[train]'")

    def task(self, card: Mapping[str, Any]) -> str:
        """What a student with this card does, by the name that model hubs have for it; empty where they have none."""
        return ""

    def forms(self, card: Mapping[str, Any]) -> Sequence[str] | None:
        """Forms in which a student with this card can be exported, by name; None where the card alone does not say."""
        return None

    def opened(self, place: Path) -> Predictor | None:
        """An exported student of this family that needs no torch, ready to be used; None where `place` is none.

        Raises:
            InputError: it is one, and was changed since.
        """
        return None


class Family(Light, Generic[C, D]):
    """The methods by which the shared run knows a family.

    Attributes:
        Config: a run (a subclass of `RunPlan`).
        TeacherRun: a training of a teacher; None where teachers come from elsewhere.
        untrained: where they come from then.
        may_grow: keys of the configuration that may grow on resume.
    """

    Config: ClassVar[type]
    TeacherRun: ClassVar[type | None] = None
    untrained: ClassVar[str] = ""
    may_grow: ClassVar[tuple[str, ...]] = ("seeds", "arms")
    may_change: ClassVar[tuple[str, ...]] = ()
    may_hold: ClassVar[tuple[str, ...]] = ()
    validated: ClassVar[str] = "validation score"  # what `objective` gives, in words
    validated_in_percent: ClassVar[bool] = False  # whether it is a share, which a sweep shows in per cent

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """Whether a run as plain data (a YAML file) is one of this family."""
        return False

    def rebased(self, base: Any, mapping: dict[str, Any]) -> dict[str, Any]:
        """What is left of a recipe (`base`) whose settings were changed (`mapping`), where some then fit no more."""
        return mapping

    # ------------------------------------------------------------------------------------------------ a teacher of one's own

    def owns_teacher(self, mapping: Mapping[str, Any]) -> bool:
        """Whether the training of a teacher as plain data (a YAML file) is one of this family."""
        return False

    def teacher_settings(self, path: str, mapping: dict[str, Any]) -> dict[str, Any]:
        """What a file without a recipe means as settings of `TeacherRun`; `mapping` is what stands in it."""
        return mapping

    def train_teacher(self, config: Any, out: Path, *, resume: bool, watch: Watch) -> Sequence[str]:
        """Train a teacher (`config`: a `TeacherRun`) into a run folder; a line with its scores, and one that says how to use it."""
        raise InputError(f"family {self.kind!r} trains no teachers")

    # ------------------------------------------------------------------------------------------------ before training

    @abstractmethod
    def data(self, config: C, log: Callable[[str], None]) -> D:
        """Read, check and split the data of a run."""

    def facts(self, data: D) -> dict[str, Any]:
        """The entry on the data in `run.json` and the report; compared on resume by `sha256`."""
        return {"name": data.name, "sizes": dict(data.sizes), "sha256": data.sha256}

    def completed(self, config: C, named: AbstractSet[str]) -> C:
        """A configuration with what settings that were named beside a recipe or file (`teacher.source`) bring with them."""
        return config

    def check(self, config: C, data: D) -> None:
        """Raise InputError for what can be refused before a teacher is loaded."""

    def refusal(self, signal: Any) -> str | None:
        """Why a signal's configuration cannot work in this family, in one line; None: the tensors that it compares exist.

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

    def made_of(self, config: C) -> tuple[Any, Any]:
        """Settings that decide what `data` and what `teachers` give, as values that can be compared.

        Trials of a sweep in which one is equal share it. All settings, unless a family knows better.
        """
        return config, config

    @abstractmethod
    def fingerprint(self, teacher: Any) -> str:
        """SHA-256 of this teacher, compared on resume."""

    def identities(self, config: C, data: D, given: Any) -> Sequence[str]:
        """`fingerprint` of each of `teachers`, none of whom is asked or fitted for it: what a finished run is compared with."""
        return [self.fingerprint(one) for one in self.teachers(config, data, given, lambda line: None)]

    @abstractmethod
    def grade(self, teacher: Any, config: C, data: D) -> Grade:
        """Score a teacher on the validation split against chance."""

    def plain_score(self, config: C, data: D) -> tuple[str, float] | None:
        """What a cheap model that nobody taught reaches on the validation split, with its name: a good teacher is above it."""
        return None

    def prepare(self, lab: Lab[C, D]) -> None:
        """Make once what all arms use (a cache of the teacher's outputs, a graph of neighbours), into `lab.shared`."""

    def tutors(self, lab: Lab[C, D]) -> Sequence[Any]:
        """Whom the taught arms listen to, one a stage; None where a stage listens to nobody."""
        return (lab.teacher,) * len(lab.config.stages_of(True))  # type: ignore[attr-defined]

    def questions(self, config: C, data: D, teacher: Any, features: Sequence[str] = ()) -> Questions:
        """The rows that a teacher of a run is asked about, for `stillhouse cache`.

        Args:
            config: of the run.
            data: ready data.
            teacher: the last of `teachers`.
            features: paths of sub-modules whose outputs are wanted beside its scores.
        """
        raise InputError(f"cache: family {self.kind!r} has no teacher whose answers could be kept")

    def teacher_record(self, lab: Lab[C, D]) -> dict[str, Any]:
        """`teacher.json`."""
        return {} if lab.grade is None else lab.grade.to_mapping()

    def unused(self, config: C) -> Sequence[str]:
        """One line a setting that has no effect."""
        return ()

    # ------------------------------------------------------------------------------------------------ training

    @abstractmethod
    def arms(self, config: C) -> Sequence[Arm]:
        """Every arm of a run, in the order of the report."""

    @abstractmethod
    def contrasts(self, config: C) -> Sequence[Contrast]:
        """What is compared with what; the first is the verdict."""

    def shipped(self, arms: Sequence[Arm]) -> Arm:
        """The arm that users get."""
        return reference_arm(arms)

    @abstractmethod
    def student(self, arm: Arm, choice: Any, seed: int, lab: Lab[C, D]) -> nn.Module:
        """Build a network (`choice`: the arm's student, or an assistant's configuration); the seed has been set."""

    @abstractmethod
    def job(self, lesson: Lesson[C, D]) -> Job:
        """The job of one stage of one arm."""

    def training(self, lesson: Lesson[C, D]) -> TrainingConfig:
        """The loop's knobs of a stage, where they depend on the data."""
        return lesson.stage.training

    def difficulty(self, judge: Any, lab: Lab[C, D]) -> np.ndarray:
        """(N,) how hard each training row is to a judge (a tutor or a student), high is hard: for a curriculum."""
        raise InputError(f"curriculum: family {self.kind!r} has no measure of how hard a row is; leave curriculum out")

    def labels(self, lab: Lab[C, D]) -> np.ndarray | None:
        """(N,) classes of the training rows, for a curriculum that takes each class in proportion."""
        return None

    def as_tutor(self, students: Sequence[Any], lab: Lab[C, D]) -> Any:
        """A trained assistant, or several together with the first teacher, as the tutor of the next link of a chain.

        Args:
            students: assistants so far, the newest last; one of them if only the last teaches.
            lab: of the run.
        """
        raise InputError(f"chain: family {self.kind!r} trains no assistants; leave chain out")

    def module_of(self, tutor: Any) -> Any:
        """The network of a tutor, whose parts `inherit` copies; None where there is none."""
        return None

    # ------------------------------------------------------------------------------------------------ afterwards

    @abstractmethod
    def score(self, model: Any, arm: Arm, seed: int, lab: Lab[C, D]) -> Scores:
        """Score a student on the test split."""

    def score_teacher(self, lab: Lab[C, D]) -> Scores | None:
        """Score the teacher on the test split, after every arm is trained; None where that means nothing."""
        return None

    @abstractmethod
    def save(self, folder: Path, model: Any, choice: Any, lab: Lab[C, D]) -> None:
        """Write the student that others load; `choice` is the configuration that it was built from."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Read it back, in eval mode on the CPU."""

    def objective(self, rank: Sequence[float]) -> float:
        """The one number by which a sweep compares validations, larger is better; `rank` is that of `Validation`."""
        return float(rank[0])

    def cost(self, folder: Path) -> dict[str, float]:
        """What a saved student costs, by kind (see `COSTS`): counted, or measured on this machine; reads no test rows."""
        module = self.load(folder)
        return {"params": float(sum(p.numel() for p in module.parameters())), **weight_bytes(folder)}

    def predictor(self, folder: Path) -> Predictor:
        """A saved student that takes inputs as users have them (see `stillhouse.load`).

        Raises:
            InputError: the family has none.
        """
        raise InputError(f"family {self.kind!r} has no predict")

    def finish(self, lab: Lab[C, D], summary: dict[str, Any]) -> None:
        """Write what only a finished run has (pictures, comparisons with filters) and add to its summary."""

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a saved student on the test split of its own run, or of other data."""
        raise InputError(f"family {self.kind!r} has no evaluate")

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
    """The arm that is shipped: the first one that is taught, else the first one that is trained.

    Example:
        >>> reference_arm([Arm("no-kd", "net", False), Arm("kd", "net", True)]).name
        'kd'
    """
    trained = [arm for arm in arms if arm.fit is None]
    return next((arm for arm in trained if arm.taught), trained[0])
