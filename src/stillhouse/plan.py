"""A whole run as one value: data, teacher, student, signals, training, arms and seeds. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from stillhouse.config import configclass
from stillhouse.data import DataConfig
from stillhouse.signals import LogitsConfig, SignalConfig
from stillhouse.students import StudentConfig, TsetlinViTConfig
from stillhouse.teachers import TeacherConfig
from stillhouse.training import TrainingConfig

ArmName = Literal["kd", "no-kd", "clauses-off", "mlp"]


@dataclass(frozen=True)
class Arm:
    """One way to train the student: which network, and whether the teacher is heard."""

    name: str
    student: StudentConfig
    taught: bool


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
    arms: tuple[ArmName, ...] = Field(
        default=("kd", "no-kd", "clauses-off"),
        min_length=1,
        description="kd: taught; no-kd: labels alone; clauses-off: no clause branch; mlp: an MLP in its place",
    )
    seeds: int = Field(default=3, gt=0, description="how many seeds each arm is trained with (0, 1, ...)")

    def __post_init__(self) -> None:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms: expected each arm once, got {', '.join(self.arms)}")
        if "kd" in self.arms and (self.teacher is None or not self.signals):
            raise ValueError(
                "arms: 'kd' needs a teacher and at least one signal; take 'no-kd' to train on labels alone"
            )
        if self.training.label_weight == 0 and self.reference != "kd":
            raise ValueError("training.label_weight: 0 leaves an untaught arm nothing to learn from")
        if self.training.label_weight == 0 and "no-kd" in self.arms:
            raise ValueError(
                "training.label_weight: 0 leaves the arm 'no-kd' nothing to learn from; leave that arm out"
            )

    @property
    def reference(self) -> str:
        """The arm that the controls are held against: taught if any arm is."""
        return "kd" if "kd" in self.arms else "no-kd"

    def arm(self, name: str) -> Arm:
        """What an arm changes. Controls of the clause branch are taught exactly if the reference arm is."""
        if name == "kd":
            return Arm(name, self.student, True)
        if name == "no-kd":
            return Arm(name, self.student, False)
        taught = self.reference == "kd"
        changed = self.student.with_ordinary_part() if name == "mlp" else self.student.without_special_part()
        return Arm(name, changed, taught)

    def untaught(self) -> RunConfig:
        """The same run without its teacher."""
        arms = tuple(dict.fromkeys("no-kd" if arm == "kd" else arm for arm in self.arms))
        return replace(self, teacher=None, signals=(), arms=arms)


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
