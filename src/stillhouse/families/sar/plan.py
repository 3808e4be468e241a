"""A whole focusing run as one value: data, networks, objective, training, arms and seeds. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from stillhouse.core.config import configclass
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.objective import ComplexLoss, SarObjective
from stillhouse.families.sar.students import StateSpaceConfig
from stillhouse.training.config import TrainingConfig

SarArm = Literal["kd", "no-kd"]
LOG_EVERY = 50

# settings of the shared loop that are not for focusing, with their reason
NOT_HERE = {
    "label_weight": "there are no labels; alpha weighs the ground truth",
    "label_smoothing": "there are no labels",
    "teacher_view": "lines are not augmented, so there is one view",
    "doctor": "it holds terms against that of the labels, which there is none of",
    "gradients": "it holds terms against that of the labels, which there is none of",
    "optimizer": "only adamw honours the groups of a state-space network (poles without decay)",
    "momentum": "it belongs to sgd and dot",
    "delta": "it belongs to dot; training.delta of a documented file is that of early stopping",
    "mixing": "a mixture of two scenes is one more scene; draw more lines instead",
    "clause_specialize": "there are no clauses",
    "centralize_gradients": "its mean runs over real and imaginary parts alike, so a global phase would no longer commute",
}


def default_training() -> TrainingConfig:
    """The loop's knobs for complex lines: full precision, since complex transforms have no half."""
    return TrainingConfig(precision="32-true", learning_rate=1e-2, weight_decay=0.0, batch_size=8, log_every=LOG_EVERY)


def complete(training: TrainingConfig) -> TrainingConfig:
    """The same with the precision that complex transforms have.

    Raises:
        ValueError: a setting that means nothing here, or half precision.
    """
    plain = TrainingConfig()
    for name, why in NOT_HERE.items():
        if getattr(training, name) != getattr(plain, name):
            raise ValueError(f"training.{name}: is not for focusing: {why}; leave it out")
    if training.precision not in ("auto", "32-true"):
        raise ValueError(
            f"training.precision: expected 32-true (complex Fourier transforms have no half precision), got {training.precision}"
        )
    return replace(training, precision="32-true")


@configclass
class SarTrainConfig:
    """A focusing network learned from the ground truth alone: the teacher, or any network without one."""

    name: str = Field(default="sar-teacher", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    model: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network")
    loss: ComplexLoss = Field(default_factory=ComplexLoss, description="against the ground truth")
    training: TrainingConfig = Field(default_factory=default_training, description="the loop")
    delta: float = Field(default=0.0, ge=0, description="a validation is better only if its quality is so much higher")
    seed: int = Field(default=0, ge=0, description="weights and order of the lines")

    def __post_init__(self) -> None:
        complete(self.training)
        check_channels("model", self.model, self.data)


@configclass
class SarDistillConfig:
    """A student with a teacher and without one, under several seeds, and what the difference says."""

    name: str = Field(default="sar-student", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    teacher: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the trained network that tells")
    teacher_checkpoint: str = Field(min_length=1, description="its run folder, or a file of weights")
    student: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network that learns")
    objective: SarObjective = Field(default_factory=SarObjective, description="alpha, beta, gamma and their losses")
    training: TrainingConfig = Field(default_factory=default_training, description="the loop, the same for every arm")
    delta: float = Field(default=0.0, ge=0, description="a validation is better only if its quality is so much higher")
    arms: tuple[SarArm, ...] = Field(default=("kd", "no-kd"), min_length=1, description="kd: taught; no-kd: control")
    seeds: int = Field(default=3, gt=0, description="trainings of each arm; a verdict wants 3")

    def __post_init__(self) -> None:
        complete(self.training)
        check_channels("student", self.student, self.data)
        check_channels("teacher", self.teacher, self.data)
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms: expected each once, got {', '.join(self.arms)}")


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
