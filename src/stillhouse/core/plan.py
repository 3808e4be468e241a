"""What the runs of all tasks have in common: stages, assistants, curriculum, arms and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.core.exports import LICENSE, UNNAMED
from stillhouse.curricula import CurriculumConfig
from stillhouse.signals import SignalConfig
from stillhouse.training.config import TrainingConfig


@configclass
class StageConfig:
    """One stage of a pipeline. What is left out stays as in the run; weights always go on to the next stage."""

    name: str = Field(min_length=1, pattern=r"^[\w-]+$", description="names the folder of the stage")
    epochs: int | None = Field(default=None, gt=0, description="passes over the training split")
    learning_rate: float | None = Field(default=None, gt=0, description="peak learning rate of the stage's schedule")
    signals: tuple[SignalConfig, ...] | None = Field(default=None, description="what is learned from the teacher")
    train_only: tuple[str, ...] = Field(
        default=(), description="paths of the student's sub-modules that learn in this stage; empty: all"
    )


@dataclass(frozen=True)
class Stage:
    """A stage with nothing left open."""

    name: str
    training: TrainingConfig
    signals: tuple[Any, ...]
    teacher: Any = None
    train_only: tuple[str, ...] = ()


@configclass
class RunPlan:
    """The part of a run that every task has.

    Attributes:
        may_grow: settings that may differ on resume: a number may rise, a list may get more entries.
        may_change: dotted keys of settings that decide no result.
        may_hold: names of entries that a new run folder may hold already, made ahead of the run.
    """

    may_grow: ClassVar[tuple[str, ...]] = ("seeds", "arms")
    may_change: ClassVar[tuple[str, ...]] = ("license",)
    may_hold: ClassVar[tuple[str, ...]] = ()

    name: str = Field(
        default="run", min_length=1, description="name of the run; the folder is runs/NAME unless --out is given"
    )
    signals: tuple[SignalConfig, ...] = Field(default=(), description="what is learned from the teacher")
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    auxiliary_losses: tuple[SignalConfig, ...] = Field(
        default=(), description="what every arm learns without a teacher: probes, contrastive, exits, self-distillation"
    )
    auxiliary_decay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="of the student's moving average, which is the teacher of `auxiliary_losses` (self-distillation)",
    )
    teacher_assistants: tuple[Any, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    assistant_teachers: Literal["last", "all"] = Field(
        default="last", description="who teaches a link of the chain: the one before it, or all before it"
    )
    init_from_teacher: dict[str, str] = Field(
        default_factory=dict,
        description="start taught students from parts of the teacher: path in the student -> path in the teacher",
    )
    curriculum: CurriculumConfig | None = Field(
        default=None,
        description="which rows first: in taught arms, and in every arm where the judge is a student, who knows no teacher",
    )
    difficulty_model: Literal["teacher", "student"] = Field(
        default="teacher",
        description="of a curriculum: whose scores decide what is hard; student: after one epoch without a teacher",
    )
    stages: tuple[StageConfig, ...] = Field(
        default=(), description="stages one after another, as general and task distillation; empty: one stage"
    )
    teacher_cache: str | None = Field(
        default=None,
        min_length=1,
        description="folder of `stillhouse cache`: the teacher's answers are read there, and compared with the teacher's own on "
        "rows that are drawn anew; without the teacher at hand, name cache:FOLDER as the teacher",
    )
    seeds: int = Field(default=3, gt=0, le=10_000, description="how many times each arm is trained (seeds 0, 1, ...)")
    license: str = Field(
        default=UNNAMED,
        pattern=LICENSE,
        description="of the student, for its card (apache-2.0, mit, ...); other: as the data and the teacher decide",
    )

    def __post_init__(self) -> None:
        check_plan(self)

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """Whether a run as plain data (a YAML file) is one of this class."""
        return False

    @classmethod
    def completed(cls, base: Any, mapping: dict[str, Any], named: AbstractSet[str]) -> dict[str, Any]:
        """A run as plain data with what follows from its settings, before it is parsed.

        Args:
            base: the recipe that it started from; None: a whole file.
            mapping: the run.
            named: dotted keys that were set beside recipe or file.
        """
        return mapping

    def unsupported_reason(self, signal: Any) -> str | None:
        """Why a signal's configuration cannot work in this run, in one line; None: the tensors that it compares exist.

        A path that names no sub-module is found later, when a signal is built.
        """
        return None

    def signals_heard(self) -> Iterator[tuple[str, Any]]:
        """Where each signal of the run is configured, and the signal."""
        stages = {f"stages.{number}.signals": stage.signals or () for number, stage in enumerate(self.stages)}
        for place, signals in {"signals": self.signals, **stages}.items():
            yield from ((f"{place}.{number}", signal) for number, signal in enumerate(signals))

    def stages_of(self, taught: bool) -> tuple[Stage, ...]:
        """The stages of an arm, in order; an untaught arm has as many steps."""
        if not self.stages:
            stages: tuple[Stage, ...] = (Stage("whole", self.training, self.signals),)
        else:
            stages = tuple(self._resolved(stage) for stage in self.stages)
        if self.curriculum is not None and self.curriculum.budget == "rows":
            stages = tuple(map(self._shortened, stages))
        return stages if taught else tuple(self.untaught_stage(stage) for stage in stages)

    def untaught_stage(self, stage: Stage) -> Stage:
        """A stage as the control has it: without signals of a teacher."""
        return replace(stage, signals=(), teacher=None)

    def trial_stage(self, stage: Stage) -> Stage:
        """A stage as the judge of a curriculum has it, a student that has learned for one epoch without a teacher."""
        plain = self.untaught_stage(replace(stage, train_only=()))
        once = replace(plain.training, epochs=1, warmup_epochs=0.1, patience=0)
        return replace(plain, training=once)

    def _shortened(self, stage: Stage) -> Stage:
        """A stage with the epochs that a curriculum of equal passes takes, at least one for each of its parts."""
        assert self.curriculum is not None
        epochs = max(len(self.curriculum.shares), round(stage.training.epochs * self.curriculum.length))
        return replace(stage, training=replace(stage.training, epochs=epochs))

    def _resolved(self, stage: StageConfig) -> Stage:
        names = ("epochs", "learning_rate", "label_weight")
        given = {name: value for name in names if (value := getattr(stage, name, None)) is not None}
        signals = self.signals if stage.signals is None else stage.signals
        teacher = getattr(stage, "teacher", None)
        training = replace(self.training, **given)
        return Stage(stage.name, training, signals, teacher, stage.train_only)


def one_teacher(given: Any, why: str) -> Any:
    """What the configuration of a task with one teacher was given.

    Raises:
        ValueError: it names several teachers, and `why` they cannot teach together.
    """
    named = given if isinstance(given, Mapping) else given.kwargs or {}
    if "more_teachers" in named:
        raise ValueError(f"more_teachers: {why}")
    return given


def check_plan(plan: RunPlan) -> None:
    """Raise ValueError for a pipeline or a chain that cannot be."""
    names = [stage.name for stage in plan.stages]
    if len(set(names)) < len(names):
        raise ValueError(f"stages: expected different names, got {', '.join(names)}")
    arms = getattr(plan, "arms", ())
    if len(set(arms)) < len(arms):
        raise ValueError(f"arms: expected each arm once, got {', '.join(arms)}")
    for place, signal in plan.signals_heard():
        if (why := plan.unsupported_reason(signal)) is not None:
            raise ValueError(f"{place} ({signal.kind}): {why}")
