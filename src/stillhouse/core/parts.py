"""What a run is made of: metrics, arms and their contrasts, a teacher's grade, scores. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from stillhouse.core.checks import StillhouseError


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


def facts_of(data: Data) -> dict[str, Any]:
    """The entry on the data in `run.json` and the report; each `sha256` and `..._sha256` is compared on resume.

    Data may say more of themselves in a mapping `facts`; two runs are compared item by item where `test_sha256` is the same.
    """
    return {"name": data.name, "sizes": dict(data.sizes), "sha256": data.sha256, **getattr(data, "facts", {})}


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
        judged: whether verdicts are drawn from it too; they always are from the first one of a task.
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
    judged: bool = False


@dataclass(frozen=True)
class Objective:
    """By what a sweep compares validations: larger is better.

    Attributes:
        label: in words.
        in_percent: whether it is a share.
        rank: its place in `Validation.rank`.
    """

    label: str = "validation score"
    in_percent: bool = False
    rank: int = 0


@dataclass(frozen=True)
class Contrast:
    """An arm held against its control by one metric; the first contrast of a run is the verdict on the teacher."""

    name: str
    arm: str
    control: str
    metric: str


@dataclass(frozen=True)
class Arm:
    """One way to get a student.

    Attributes:
        name: of the folder and in tables.
        student: the configuration of its network; None for what is fitted without training.
        taught: whether the teacher is heard.
        seeds: how many times it is trained (0, 1, ...).
        teacher_assistants: assistants between teacher and student, largest first.
        fit: of what needs no training by the shared loop (PCA, an n-gram): (lab, seed) -> model.
        about: what it is, in words.
        plain: what a reader calls it, of a model fitted on the same labels that any student should be above.
        controls: what it is the control of: (question, arm); that `no-kd` is the one of `kd` need not be said.
    """

    name: str
    student: Any
    taught: bool
    seeds: int = 1
    teacher_assistants: tuple[Any, ...] = ()
    fit: Callable[[Any, int], Any] | None = None
    about: str = ""
    plain: str = ""
    controls: tuple[tuple[str, str], ...] = ()

    @property
    def trains(self) -> bool:
        """Whether it counts as a training where trainings are counted."""
        return self.fit is None


def contrasts_of(arms: Sequence[Arm], metrics: Sequence[Metric]) -> list[Contrast]:
    """What is compared with what, the teacher first; that comparison is listed, as not tested, where one of its arms is missing.

    Example:
        >>> arms = [Arm("kd", "net", True), Arm("linear", None, False, controls=(("linear", "kd"),))]
        >>> [(one.name, one.arm, one.control) for one in contrasts_of(arms, [Metric("accuracy", "accuracy")])]
        [('teacher', 'kd', 'no-kd'), ('linear', 'kd', 'linear')]
    """
    names = {arm.name for arm in arms}
    pairs = [("teacher", "kd", "no-kd")] if names & {"kd", "no-kd"} else []
    pairs += [(question, arm, control.name) for control in arms for question, arm in control.controls if arm in names]
    judged = [metric.name for place, metric in enumerate(metrics) if metric.judged or place == 0]
    return [Contrast(*pair, metric) for pair in pairs for metric in judged]


@dataclass(frozen=True)
class TeacherCheck:
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
        baseline_name: of that model.

    Example:
        >>> TeacherCheck("net", score=0.12, low=0.09, chance=0.10, metric="accuracy").ready
        False
        >>> poor = TeacherCheck("net", -3.9, -3.92, -5.8, "log-likelihood a token", plain=-3.4, baseline_name="a 5-gram")
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
    baseline_name: str = ""

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
        plain = "" if self.plain is None else f", {self.baseline_name} {form.format(self.plain)}"
        why = f"; {self.baseline_name} is better, so a student learns more from the data than from this teacher"
        why *= self.status == "poor"
        return (
            f"teacher: {self.name}, validation {self.metric} {form.format(self.score)} "
            f"(chance {form.format(self.chance)}{plain}){more}: {self.status}{why}"
        )

    def use(self, how: str) -> str:
        """What a teacher that was just trained is good for; `how` is what names it on a command line.

        Example:
            >>> TeacherCheck("net", score=0.9, low=0.8, chance=0.1, metric="accuracy").use("teacher.source=ckpt:net")
            'use it as teacher.source=ckpt:net'
            >>> TeacherCheck("net", score=0.1, low=0.05, chance=0.1, metric="accuracy").use("teacher.source=ckpt:net")
            'at chance: nothing can be learned from it; train it longer or otherwise'
        """
        if self.status == "at chance":
            return "at chance: nothing can be learned from it; train it longer or otherwise"
        if self.status == "poor":
            return f"a poor teacher: a student learns more from the data; {how} names it all the same"
        return f"use it as {how}"

    def to_fields(self) -> dict[str, Any]:
        """All of it as plain data, of which `Grade(**fields)` is made again."""
        return {**asdict(self), "facts": dict(self.facts)}

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for `teacher.json`."""
        named = {n: getattr(self, n) for n in ("name", "score", "low", "chance", "metric", "status")}
        beside = {} if self.plain is None else {"plain": self.plain, "baseline_name": self.baseline_name}
        return {**named, **beside, **self.facts}


def use_of(result: Mapping[str, Any], how: str) -> str:
    """`TeacherCheck.use` of a finished training of a teacher (its `result.json`)."""
    return TeacherCheck(**result["teacher_check"]).use(how)


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
