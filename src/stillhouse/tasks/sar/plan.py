"""A whole focusing run as one value: data, networks, objective, training, arms and seeds. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from stillhouse.core.config import configclass
from stillhouse.core.plan import RunPlan, check_plan, one_teacher
from stillhouse.curricula import CurriculumConfig
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.training.config import TrainingConfig

Distance = Literal["mse", "nmse"]
Wandb = Literal["offline", "online"]
SarArm = Literal["kd", "no-kd"]
WANDB = "also log to Weights & Biases: on this disk (offline), or sent while it trains (online)"
SCORES = ("logits", "ensemble", "dual-head", "exits", "ofa")
REFUSED = {
    **dict.fromkeys(SCORES, "a focused line has no class scores; objective.beta compares the lines themselves"),
    **dict.fromkeys(("probes", "contrastive"), "lines have no classes"),
    "attention": "state-space layers have no queries, keys and values",
    "clause-targets": "a state-space network has no clauses to teach; take a student of clauses on images",
}
DELTA = "a validation is better only if its quality is so much higher"


@configclass
class SarObjective:
    """total = alpha x student + beta x distillation + gamma x feature, as documented.

    `temperature` is not that of a softmax: in a regression that one does nothing. It is the scale, in units of the teacher's RMS,
    beyond which a difference from the teacher counts linearly instead of squared (`losses.complex.robust_nmse`).
    """

    alpha: float = Field(default=0.3, ge=0, description="weight of the student's error against the ground truth")
    beta: float = Field(default=0.5, ge=0, description="weight of its distance from the teacher's outputs")
    gamma: float | None = Field(default=None, ge=0, description="weight of the features [1 - alpha - beta]")
    temperature: float | None = Field(default=None, gt=0, description="teacher's RMS past which differences are linear")
    student_loss: Distance = Field(default="nmse", description="against the truth: mean |s - t|^2, or over power")
    distillation_loss: Distance = Field(default="nmse", description="against the teacher: likewise")
    feature_matching: bool = Field(default=True, description="compare hidden lines too; false: gamma does nothing")
    freeze_teacher: bool = Field(default=True, description="false: the teacher goes on learning from the ground truth")

    def __post_init__(self) -> None:
        if self.gamma is None and self.feature_matching and self.alpha + self.beta > 1 + 1e-9:
            raise ValueError(f"alpha, beta: expected a sum of at most 1 without gamma, got {self.alpha + self.beta:g}")
        if sum(self.weights) == 0:
            raise ValueError("alpha, beta, gamma: expected a weight above 0, got 0 for all")

    @property
    def weights(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma), the last one filled in."""
        if not self.feature_matching:
            return self.alpha, self.beta, 0.0
        rest = max(0.0, 1 - self.alpha - self.beta)
        return self.alpha, self.beta, rest if self.gamma is None else self.gamma


@configclass
class SarTraining(TrainingConfig):
    """Knobs of the loop for complex lines: full precision, since complex transforms have no half."""

    batch_size: int = Field(default=8, gt=0, le=2**24, description="lines per optimizer step")
    learning_rate: float = Field(default=1e-2, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay of matrices; poles never decay")
    precision: Literal["32-true"] = Field(default="32-true", description="complex transforms have no half precision")
    centralize_gradients: Literal[False] = Field(
        default=False, description="a mean over real and imaginary parts alike would see the global phase"
    )
    log_every: int = Field(default=50, gt=0, description="optimizer steps between two records of the loss terms")


@configclass
class LineCurriculum(CurriculumConfig):
    """Which lines come first: a line is as hard as the judge's error on it is large."""

    by_class: Literal[False] = Field(default=False, description="lines have no classes")


@configclass
class SarTrainConfig:
    """A focusing network learned from the ground truth alone: the teacher, or any network without one."""

    may_change: ClassVar[tuple[str, ...]] = ("wandb",)

    name: str = Field(default="sar-teacher", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    model: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network")
    loss: Distance = Field(default="nmse", description="against the ground truth")
    training: SarTraining = Field(default_factory=SarTraining, description="the loop")
    delta: float = Field(default=0.0, ge=0, description=DELTA)
    seed: int = Field(default=0, ge=0, description="weights and order of the lines")
    wandb: Wandb | None = Field(default=None, description=WANDB)

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A network that focuses lines: `model`, and no text."""
        return "model" in mapping and "corpus" not in mapping

    def __post_init__(self) -> None:
        check_channels("model", self.model, self.data)


@configclass
class SarDistillConfig(RunPlan):
    """A student with a teacher and without one, under several seeds, and the difference."""

    may_change: ClassVar[tuple[str, ...]] = ("license", "wandb")

    name: str = Field(default="sar-student", min_length=1, description="names the run folder")
    data: SarConfig = Field(default_factory=SarConfig, description="lines and their focus")
    teacher: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the trained network that teaches")
    teacher_checkpoint: str = Field(min_length=1, description="its run folder or file of weights")
    student: StateSpaceConfig = Field(default_factory=StateSpaceConfig, description="the network that learns")
    objective: SarObjective = Field(default_factory=SarObjective, description="alpha, beta, gamma and their losses")
    training: SarTraining = Field(default_factory=SarTraining, description="the loop, the same for every arm")
    teacher_assistants: tuple[StateSpaceConfig, ...] = Field(default=(), description="between both, largest first")
    curriculum: LineCurriculum | None = Field(default=None, description="which lines first, by the judge's error")
    delta: float = Field(default=0.0, ge=0, description=DELTA)
    arms: tuple[SarArm, ...] = Field(default=("kd", "no-kd"), min_length=1, description="kd: taught; no-kd: control")
    wandb: Wandb | None = Field(default=None, description=WANDB)

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, given: Any) -> Any:
        return one_teacher(given, "hidden lines of several networks have no mean; name one teacher_checkpoint")

    def __post_init__(self) -> None:
        check_plan(self)
        for name, model in (("student", self.student), ("teacher", self.teacher)):
            check_channels(name, model, self.data)
        for number, assistant in enumerate(self.teacher_assistants):
            check_channels(f"teacher_assistants.{number}", assistant, self.data)
        if self.auxiliary_losses or self.auxiliary_decay is not None:
            raise ValueError("auxiliary_losses: they read classes, which lines have not; leave it out")
        if self.teacher_cache is not None:
            raise ValueError("teacher_cache: a radar teacher is asked anew by every run; leave it out")
        if self.assistant_teachers == "all":
            raise ValueError("assistant_teachers: expected 'last': hidden lines of several networks have no mean")

    @classmethod
    def owns(cls, mapping: Mapping[str, Any]) -> bool:
        """A run on lines: an objective against their focus, or a teacher's checkpoint."""
        return bool({"objective", "teacher_checkpoint"} & set(mapping))

    def unsupported_reason(self, signal: Any) -> str | None:
        """Lines have neither classes nor attention."""
        if getattr(signal, "space", None) == "logits":
            return "space: logits compares class scores, which hidden lines are not; take space: projector"
        return REFUSED.get(signal.kind)


def check_channels(which: str, model: StateSpaceConfig, data: SarConfig) -> None:
    """Raise ValueError unless a network takes as many channels as the data have, and gives one."""
    channels = 1 + data.position_channel
    if model.input_dim != channels:
        raise ValueError(
            f"{which}.input_dim: expected {channels}, as data.position_channel says, got {model.input_dim}"
        )
    if model.output_dim != 1:
        raise ValueError(f"{which}.output_dim: expected 1 (a focused line), got {model.output_dim}")
