"""A whole focusing run as one value: data, networks, objective, training, arms and seeds. No torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan, one_teacher
from stillhouse.curricula import CurriculumConfig
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.objective import ComplexLoss, SarObjective
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.training.config import TrainingConfig

COMPARE = (
    "hold networks against filters and truncation when they are trained, and measure times; `sar compare` does it later"
)
SarArm = Literal["kd", "no-kd"]


@configclass
class SarTraining(TrainingConfig):
    """Knobs of the loop for complex lines: full precision, since complex transforms have no half."""

    batch_size: int = Field(default=8, gt=0, le=2**24, description="lines per optimizer step")
    learning_rate: float = Field(default=1e-2, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay of matrices; poles never decay")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="32-true; complex transforms have no half precision"
    )
    log_every: int = Field(default=50, gt=0, description="optimizer steps between two records of the loss terms")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in ("auto", "32-true"):
            raise ValueError(
                "precision: expected 32-true (complex Fourier transforms have no half precision), got " + self.precision
            )
        if self.centralize_gradients:
            raise ValueError(
                "centralize_gradients: expected false (its mean runs over real and imaginary parts alike, so that a global "
                "phase would no longer commute), got true"
            )
        object.__setattr__(self, "precision", "32-true")  # auto would take bfloat16 on a GPU


@configclass
class LineCurriculum(CurriculumConfig):
    """Which lines come first: a line is as hard as the judge's error on it is large."""

    by_class: Literal[False] = Field(default=False, description="lines have no classes")


@configclass
class SarTrainConfig:
    """A focusing network learned from the ground truth alone: the teacher, or any network without one."""

    name: str = Field(default="sar-teacher", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    model: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network")
    loss: ComplexLoss = Field(default_factory=ComplexLoss, description="against the ground truth")
    training: SarTraining = Field(default_factory=SarTraining, description="the loop")
    delta: float = Field(default=0.0, ge=0, description="a validation is better only if its quality is so much higher")
    seed: int = Field(default=0, ge=0, description="weights and order of the lines")
    wandb: bool | Literal["offline", "online"] = Field(
        default=False,
        description="also log to Weights & Biases: true and offline: on this disk; online: sent while it trains",
    )
    compare: bool = Field(default=True, description=COMPARE)

    def __post_init__(self) -> None:
        check_channels("model", self.model, self.data)


@configclass
class SarDistillConfig(RunPlan):
    """A student with a teacher and without one, under several seeds, and the difference."""

    name: str = Field(default="sar-student", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    teacher: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the trained network that teaches")
    teacher_checkpoint: str = Field(
        min_length=1,
        description="its run folder, a file of weights, or cache:FOLDER (its lines, kept by `stillhouse cache`)",
    )
    student: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network that learns")
    objective: SarObjective = Field(default_factory=SarObjective, description="alpha, beta, gamma and their losses")
    training: SarTraining = Field(default_factory=SarTraining, description="the loop, the same for every arm")
    teacher_assistants: tuple[StateSpaceConfig, ...] = Field(
        default=(), description="assistants between teacher and student, largest first"
    )
    curriculum: LineCurriculum | None = Field(
        default=None, description="which lines first, for the taught arm: by the judge's error on them"
    )
    delta: float = Field(default=0.0, ge=0, description="a validation is better only if its quality is so much higher")
    arms: tuple[SarArm, ...] = Field(default=("kd", "no-kd"), min_length=1, description="kd: taught; no-kd: control")
    wandb: bool | Literal["offline", "online"] = Field(
        default=False,
        description="also log to Weights & Biases: true and offline: on this disk; online: sent while it trains",
    )
    compare: bool = Field(default=True, description=COMPARE)

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, given: Any) -> Any:
        return one_teacher(given, "hidden lines of several networks have no mean; name one teacher_checkpoint")

    def __post_init__(self) -> None:
        check_plan(self)
        check_channels("student", self.student, self.data)
        check_channels("teacher", self.teacher, self.data)
        for number, assistant in enumerate(self.teacher_assistants):
            check_channels(f"teacher_assistants.{number}", assistant, self.data)
        if self.auxiliary_losses or self.auxiliary_decay is not None:
            raise ValueError(
                "auxiliary_losses: logits, probes, exits and contrastive losses read classes, which lines have not; leave it out"
            )
        if self.assistant_teachers == "all":
            raise ValueError(
                "assistant_teachers: expected 'last' (hidden lines of several networks have no mean), got 'all'"
            )


def check_channels(which: str, model: StateSpaceConfig, data: SarConfig) -> None:
    """Raise ValueError unless a network takes as many channels as the data have."""
    channels = 1 + data.position_channel
    if model.input_dim != channels:
        raise ValueError(
            f"{which}.input_dim: expected {channels} (data.position_channel is {str(data.position_channel).lower()}), "
            f"got {model.input_dim}"
        )
    if model.output_dim != 1:
        raise ValueError(
            f"{which}.output_dim: expected 1 (a focused line is one complex number), got {model.output_dim}"
        )
