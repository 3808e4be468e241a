"""A whole run as one value: data, teacher, student, signals, training, arms and seeds. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from stillhouse.classification.data import DataConfig
from stillhouse.classification.students import StudentConfig, TsetlinViTConfig
from stillhouse.core.config import configclass
from stillhouse.curricula import CurriculumConfig
from stillhouse.signals import LogitsConfig, SignalConfig, needs_teacher, teacher_features
from stillhouse.teachers import TeacherConfig
from stillhouse.training import TrainingConfig

ArmName = Literal["kd", "no-kd", "direct", "clauses-off", "mlp"]


@dataclass(frozen=True)
class Arm:
    """One way to train the student: which network, whether the teacher is heard, and through which assistants."""

    name: str
    student: StudentConfig
    taught: bool
    chain: tuple[StudentConfig, ...] = ()


@configclass
class StageConfig:
    """One stage of a pipeline. What is left out stays as in the run; weights always go on to the next stage."""

    name: str = Field(min_length=1, pattern=r"^[\w-]+$", description="names the folder of the stage")
    epochs: int | None = Field(default=None, gt=0, description="passes over the training split")
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak learning rate of the stage's own schedule"
    )
    label_weight: float | None = Field(default=None, ge=0, description="weight of the cross-entropy with the labels")
    signals: tuple[SignalConfig, ...] | None = Field(default=None, description="what is learnt from the teacher")
    teacher: TeacherConfig | None = Field(default=None, description="the stage's own teacher")
    train_only: tuple[str, ...] = Field(
        default=(), description="paths of the student's sub-modules that learn in this stage; empty: all"
    )
    carry: tuple[Literal["optimizer", "extras"], ...] = Field(
        default=(), description="taken over from the stage before, beside weights: optimizer moments, projectors"
    )


@dataclass(frozen=True)
class Stage:
    """A stage with nothing left open."""

    name: str
    training: TrainingConfig
    signals: tuple[Any, ...]
    teacher: TeacherConfig | None
    train_only: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()


@configclass
class RunConfig:
    """Everything a distillation run depends on; saved with the run."""

    name: str = Field(
        default="run", min_length=1, description="name of the run; the folder is runs/NAME unless --out says else"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig | None = Field(default_factory=TeacherConfig, description="null trains on labels alone")
    student: StudentConfig = Field(default_factory=TsetlinViTConfig)
    signals: tuple[SignalConfig, ...] = Field(default=(LogitsConfig(),), description="what is learnt from the teacher")
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    own: tuple[SignalConfig, ...] = Field(
        default=(), description="what every arm learns beside labels, without a teacher: probes, contrastive, exits"
    )
    own_decay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="of the student's moving average, which tells own logits (self-distillation)",
    )
    prior: Literal["none", "symmetric", "zero"] = Field(
        default="none",
        description="how include logits of clauses start: drawn; in complementary pairs; all close to the threshold",
    )
    more_teachers: tuple[TeacherConfig, ...] = Field(
        default=(), description="further teachers: all are asked, signals of kind 'ensemble' weigh them"
    )
    chain: tuple[StudentConfig, ...] = Field(
        default=(),
        description="assistants between teacher and student, largest first; the student's own configuration again: born-again",
    )
    chain_teachers: Literal["last", "all"] = Field(
        default="last", description="who teaches a link of the chain: the one before it, or all before it"
    )
    inherit: dict[str, str] = Field(
        default_factory=dict,
        description="start taught students from parts of the teacher: path in the student -> path in the teacher",
    )
    curriculum: CurriculumConfig | None = Field(
        default=None, description="which samples first, for taught arms (the difficulty is the judge's knowledge)"
    )
    judge: Literal["teacher", "student"] = Field(
        default="teacher",
        description="of a curriculum: whose scores say what is hard; student: after one epoch on labels alone",
    )
    stages: tuple[StageConfig, ...] = Field(
        default=(), description="stages one after another, as general and task distillation; empty: one stage"
    )
    arms: tuple[ArmName, ...] = Field(
        default=("kd", "no-kd", "clauses-off"),
        min_length=1,
        description="kd: taught; no-kd: labels alone; direct: without the chain; clauses-off: no clause branch; mlp: an MLP there",
    )
    seeds: int = Field(default=3, gt=0, description="how many seeds each arm is trained with (0, 1, ...)")

    def __post_init__(self) -> None:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms: expected each arm once, got {', '.join(self.arms)}")
        if self.reference not in self.arms:
            raise ValueError(
                f"arms: expected 'kd' or 'no-kd' among them, which the others are held against, got {', '.join(self.arms)}"
            )
        lessons = [stage.signals for stage in self._stages()]
        if "kd" in self.arms and not any(lessons):
            raise ValueError("arms: 'kd' needs at least one signal; take 'no-kd' to train on labels alone")
        if "kd" in self.arms and self.teacher is None and any(needs_teacher(s) for signals in lessons for s in signals):
            raise ValueError("arms: 'kd' needs a teacher; take 'no-kd' to train on labels alone")
        if self.training.label_weight == 0 and self.reference != "kd":
            raise ValueError("training.label_weight: 0 leaves an untaught arm nothing to learn from")
        if self.training.label_weight == 0 and "no-kd" in self.arms:
            raise ValueError(
                "training.label_weight: 0 leaves the arm 'no-kd' nothing to learn from; leave that arm out"
            )
        for signal in (signal for signals in lessons for signal in signals):
            by_stage = signal.schedule is not None and signal.schedule.over == "stages"
            if by_stage and self.curriculum is None:
                raise ValueError(
                    "signals: a temperature moves over the stages of a curriculum, and there is none; take over: steps"
                )
        if "kd" in self.arms:
            for stage in self._stages():
                self._check_something_to_learn(stage)
        if self.more_teachers and (wanted := [p for signals in lessons for p in teacher_features(signals)]):
            raise ValueError(
                f"more_teachers: features ({', '.join(wanted)}) are those of one teacher; with several only class scores are "
                "compared (kinds logits and ensemble)"
            )
        self._check_own(lessons)
        self._check_clauses()
        if ("direct" in self.arms) and not self.chain:
            raise ValueError("arms: 'direct' leaves out the chain of assistants, but there is none")
        for arm in {"clauses-off", "mlp"}.intersection(self.arms):
            if self.student.special_part is None:
                raise ValueError(
                    f"arms: {arm!r} is a control of clauses, and a student of kind {self.student.kind!r} has none"
                )
        if self.curriculum is not None and "kd" not in self.arms:
            raise ValueError("curriculum: belongs to taught arms, and no arm is 'kd'")
        if self.curriculum is not None and "rouge-l" in self.curriculum.measures:
            raise ValueError(
                "curriculum.measures: 'rouge-l' compares generated texts; for classes take loss and margin"
            )
        if (
            self.curriculum is not None
            and self.judge == "teacher"
            and (self.teacher is None or self.teacher.is_student)
        ):
            raise ValueError("judge: 'teacher' needs a teacher; take judge: student")
        if self.inherit and ("kd" not in self.arms or self.more_teachers):
            raise ValueError("inherit: copies from the teacher of arm 'kd'; expected that arm and one teacher")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: expected different names, got {', '.join(names)}")
        if self.stages and self.stages[0].carry:
            raise ValueError("stages.0.carry: there is no stage before the first")

    def _check_something_to_learn(self, stage: Stage) -> None:
        where = "" if stage.name == "whole" else f"stages ({stage.name}): "
        heard = any(s.weight > 0 for s in stage.signals)
        own = any(s.weight > 0 for s in self.own)
        curriculum = self.curriculum
        for part in range(1 if curriculum is None else len(curriculum.shares)):
            labels, signals = (
                (1.0, 1.0) if curriculum is None else (curriculum.label_weight(part), curriculum.signal_weight(part))
            )
            if not own and stage.training.label_weight * labels == 0 and not (heard and signals > 0):
                place = (
                    f"stage {part} of the curriculum"
                    if curriculum
                    else "label_weight is 0 and no signal has a weight above 0"
                )
                raise ValueError(f"{where}{place}: nothing is left to learn from")

    def _check_clauses(self) -> None:
        for name, on in (
            ("prior", self.prior != "none"),
            ("training.clause_specialize", self.training.clause_specialize > 0),
        ):
            if on and self.student.special_part != "clauses":
                raise ValueError(f"{name}: is about clauses, and a student of kind {self.student.kind!r} has none")
        if self.training.clause_specialize > 0 and self.student.kind not in {"unified-tm", "tsetlin-vit"}:
            raise ValueError(
                f"training.clause_specialize: weighs attention heads, and a student of kind {self.student.kind!r} has none"
            )

    def _check_own(self, lessons: list[tuple[SignalConfig, ...]]) -> None:
        told = [signal.kind for signal in self.own if needs_teacher(signal)]
        if any(kind != "logits" for kind in told):
            raise ValueError(
                f"own: is learnt without a teacher, but {', '.join(told)} listens to one; put it in signals"
            )
        if bool(told) != (self.own_decay is not None):
            raise ValueError(
                "own_decay: expected together with own logits (the average tells them), or neither of them"
            )
        if self.training.mixing.on and any(
            signal.reads_one_label for signals in (*lessons, self.own) for signal in signals
        ):
            raise ValueError("training.mixing: 'dkd' and 'ensemble' read one label an image, and a mixed image has two")

    @property
    def reference(self) -> str:
        """The arm that the controls are held against: taught if any arm is."""
        return "kd" if "kd" in self.arms else "no-kd"

    def arm(self, name: str) -> Arm:
        """What an arm changes. Controls of the clause branch are taught exactly if the reference arm is."""
        if name == "kd":
            return Arm(name, self.student, True, self.chain)
        if name == "direct":
            return Arm(name, self.student, True)
        if name == "no-kd":
            return Arm(name, self.student, False)
        taught = self.reference == "kd"
        student: Any = self.student  # one with a special part: see __post_init__
        changed = student.with_ordinary_part() if name == "mlp" else student.without_special_part()
        return Arm(name, changed, taught, self.chain if taught else ())

    def stages_of(self, taught: bool) -> tuple[Stage, ...]:
        """The stages of an arm, in order. An untaught arm has as many steps; a stage without labels gets them there."""
        stages = self._stages()
        if taught:
            return stages
        return tuple(
            replace(
                s, signals=(), teacher=None, training=replace(s.training, label_weight=s.training.label_weight or 1.0)
            )
            for s in stages
        )

    def _stages(self) -> tuple[Stage, ...]:
        if not self.stages:
            return (Stage("whole", self.training, self.signals, self.teacher),)
        resolved = []
        for stage in self.stages:
            given = {key: getattr(stage, key) for key in ("epochs", "learning_rate", "label_weight")}
            training = replace(self.training, **{key: value for key, value in given.items() if value is not None})
            signals = self.signals if stage.signals is None else stage.signals
            teacher = self.teacher if stage.teacher is None else stage.teacher
            resolved.append(Stage(stage.name, training, signals, teacher, stage.train_only, stage.carry))
        return tuple(resolved)

    def untaught(self) -> RunConfig:
        """The same run without its teacher."""
        arms = tuple(dict.fromkeys("no-kd" if arm in {"kd", "direct"} else arm for arm in self.arms))
        stages = tuple(replace(stage, signals=(), teacher=None) for stage in self.stages)
        return replace(
            self,
            teacher=None,
            more_teachers=(),
            signals=(),
            chain=(),
            stages=stages,
            arms=arms,
            curriculum=None,
            inherit={},
        )


@configclass
class TeacherRunConfig:
    """A teacher to be fine-tuned on a data set and saved in the form that `ckpt:` reads."""

    name: str = Field(
        default="teacher", min_length=1, description="name of the run; the folder is runs/NAME unless --out says else"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    seed: int = Field(default=0, ge=0, description="fixes weights of a new head, order and augmentation")
