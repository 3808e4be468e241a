"""A run with classes as one value: data, teachers, student, signals, training, arms and seeds. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from stillhouse.core import plan
from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, Stage, check_plan
from stillhouse.signals import LogitsConfig, SignalConfig, needs_teacher, teacher_features
from stillhouse.tasks.classification.data import ClassesDataConfig, DataConfig
from stillhouse.tasks.classification.students import StudentConfig, TsetlinViTConfig, has_clauses
from stillhouse.tasks.classification.training import ClassificationTrainingConfig
from stillhouse.teachers import TeacherConfig

SELF: Literal["self-trained"] = "self-trained"  # the arm that learns the untaught student's own answers
MEMBER = re.compile(r"^(\d+):.")  # `1:layer3` is layer3 of the second teacher

ArmName = Literal["kd", "no-kd", "self-trained", "direct", "clauses-off", "mlp"]
WITH_HEADS = {"unified-tm", "tsetlin-vit"}  # students whose attention heads can be weighed by their clauses


@configclass
class RunTrainingConfig(ClassificationTrainingConfig):
    """Knobs of training, and those of clauses: their learning rate, and how strongly they weigh attention heads."""

    clause_learning_rate_factor: float = Field(
        default=10.0,
        gt=0,
        le=1000,
        description="learning rate of what belongs to clauses (literals, votes) over the common one",
    )
    clause_specialize: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far attention heads are weighed by the clauses they feed, each epoch; 0: off",
    )


@configclass
class StageConfig(plan.StageConfig):
    """One stage of a pipeline. What is left out stays as in the run; weights always go on to the next stage."""

    label_weight: float | None = Field(default=None, ge=0, description="weight of the cross-entropy with the labels")


@configclass
class ClassificationRunConfig(RunPlan):
    """Everything that a distillation run with classes depends on; saved with the run."""

    data: ClassesDataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig | None = Field(default_factory=TeacherConfig, description="null trains on labels alone")
    more_teachers: tuple[TeacherConfig, ...] = Field(
        default=(),
        description="further teachers: all are asked, signals of kind 'ensemble' weigh them; features of the second are 1:PATH",
    )
    student: StudentConfig = Field(default_factory=TsetlinViTConfig)
    signals: tuple[SignalConfig, ...] = Field(default=(LogitsConfig(),), description="what is learned from the teacher")
    training: RunTrainingConfig = Field(default_factory=RunTrainingConfig)
    stages: tuple[StageConfig, ...] = Field(
        default=(), description="stages one after another, as general and task distillation; empty: one stage"
    )
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
        if arms:
            return arms
        few = getattr(info.data.get("data"), "label_limit", None) is not None
        usual: dict[ArmName, bool] = {"kd": True, "no-kd": True, SELF: few}
        usual["clauses-off"] = has_clauses(info.data.get("student"))
        return tuple(arm for arm, wanted in usual.items() if wanted)

    def __post_init__(self) -> None:
        check_plan(self)
        stages = self.stages_of(True)
        for wrong, words in (
            *self._unfit_arms(),
            *self._unfit_signals([signal for x in stages for signal in x.signals]),
        ):
            if wrong:
                raise ValueError(words)
        for stage in stages if "kd" in self.arms else ():
            weights = [getattr(stage.training, "label_weight", 1.0), *(x.weight for x in stage.signals)]
            if not any(weights) and not self.auxiliary_losses:
                raise ValueError(f"stage {stage.name!r}: no weight is above 0: nothing is left to learn from")

    def stages_of(self, taught: bool) -> tuple[Stage, ...]:
        """The stages of an arm, in order; a stage without labels has them in an untaught arm."""
        stages = tuple(replace(stage, teacher=self.teacher) for stage in super().stages_of(True))
        return stages if taught else tuple(self.untaught_stage(stage) for stage in stages)

    def untaught_stage(self, stage: Stage) -> Stage:
        """A stage as the control has it: labels instead of a teacher, with a weight of at least 1: nothing stands beside them."""
        plain = super().untaught_stage(stage)
        training: Any = plain.training
        return replace(plain, training=replace(training, label_weight=max(training.label_weight, 1.0)))

    def trial_stage(self, stage: Stage) -> Stage:
        """A stage as the judge of a curriculum has it: one epoch of labels, by the training of the run."""
        return super().trial_stage(replace(stage, training=replace(self.training, label_weight=1.0)))

    @property
    def reference(self) -> str:
        """The arm that the controls are held against: taught if any arm is."""
        return "kd" if "kd" in self.arms else "no-kd"

    def _unfit_arms(self) -> Iterator[tuple[bool, str]]:
        """Whether something does not fit the arms or the student, and what to say then."""
        arms, kind, taught = self.arms, self.student.kind, "kd" in self.arms
        yield self.reference not in arms, "arms: expected 'kd' or 'no-kd', which the others are held against"
        yield (
            SELF in arms and "no-kd" not in arms,
            f"arms: {SELF!r} learns the answers of 'no-kd', which is not among them",
        )
        yield (
            "direct" in arms and not self.teacher_assistants,
            "arms: 'direct' leaves out the chain of assistants, but there is none",
        )
        yield (
            bool(self.init_from_teacher) and (not taught or bool(self.more_teachers)),
            "init_from_teacher: copies from the teacher of arm 'kd'; expected that arm and one teacher",
        )
        yield (
            self.training.clause_specialize > 0 and kind not in WITH_HEADS,
            f"training.clause_specialize: weighs attention heads, and a student of kind {kind!r} has none",
        )
        for lost in [] if has_clauses(self.student) else [arm for arm in arms if arm in ("clauses-off", "mlp")]:
            yield True, f"arms: {lost!r} is a control of clauses, and a student of kind {kind!r} has none"
        if self.curriculum is None:
            return
        by_teacher = self.difficulty_model == "teacher"
        yield (
            by_teacher and not taught,
            "curriculum: its difficulty_model is the teacher, and no arm is 'kd'; take difficulty_model: student",
        )
        yield (
            by_teacher and (self.teacher is None or self.teacher.is_student),
            "difficulty_model: 'teacher' needs a teacher; take difficulty_model: student",
        )

    def _unfit_signals(self, signals: Sequence[Any]) -> Iterator[tuple[bool, str]]:
        """The same of the signals of all stages, and of what is learned without a teacher."""
        taught, count = "kd" in self.arms, 1 + len(self.more_teachers)
        yield taught and not signals, "arms: 'kd' needs at least one signal; take 'no-kd' to train on labels alone"
        yield (
            taught and self.teacher is None and any(map(needs_teacher, signals)),
            "arms: 'kd' needs a teacher; take 'no-kd' to train on labels alone",
        )
        for path in teacher_features(tuple(signals)):
            member = MEMBER.match(path)
            yield (
                count > 1 and (member is None or int(member[1]) >= count),
                f"signals: there are {count} teachers, and {path!r} is of none of them; write 0:PATH for a feature of the "
                f"first, up to {count - 1}:PATH",
            )
        own = [signal.kind for signal in self.auxiliary_losses if needs_teacher(signal)]
        yield (
            any(kind != "logits" for kind in own),
            f"auxiliary_losses: is learned without a teacher, but {', '.join(own)} listens to one; put it in signals",
        )
        yield (
            bool(own) != (self.auxiliary_decay is not None),
            "auxiliary_decay: expected together with logits among auxiliary_losses (the student's average teaches them), or "
            "neither of them",
        )
        yield (
            self.training.mixing.on and any(signal.reads_one_label for signal in (*signals, *self.auxiliary_losses)),
            "training.mixing: 'dkd', 'ofa' and 'ensemble' read one label an image, and a mixed image has two",
        )
        yield (
            self.curriculum is None and any(s.schedule is not None and s.schedule.over == "stages" for s in signals),
            "signals: a temperature moves over the stages of a curriculum, and there is none; take over: steps",
        )


@configclass
class TeacherRunConfig:
    """A teacher to be fine-tuned on a data set and saved in the form that `ckpt:` reads."""

    name: str = Field(
        default="teacher", min_length=1, description="name of the run; the folder is runs/NAME unless --out is given"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    training: ClassificationTrainingConfig = Field(default_factory=ClassificationTrainingConfig)
    seed: int = Field(default=0, ge=0, description="fixes weights of a new head, order and augmentation")
