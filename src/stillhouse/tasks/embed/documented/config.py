"""The document's settings as one value, and its three presets. No torch.

Frozen, so that nobody who changes a preset changes it for all: `DEFAULT_OPENAI_CONFIG.replace(tau=2.0)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stillhouse.core.checks import InputError
from stillhouse.tasks.embed.documented.schedule import ScheduleType, create_curriculum_schedule

LossType = Literal["cosine", "kl"]
Device = Literal["cpu", "cuda", "auto"]


@dataclass(frozen=True)
class DistillationConfig:
    """What the document's training loop reads.

    Attributes:
        teacher_checkpoint: file for `load_teacher_checkpoint`.
        teacher_dim: width of the teacher's vectors.
        student_dim: width of the student's.
        tau: temperature without a curriculum.
        alpha: share of the distillation loss beside a reconstruction loss.
        loss_type: `cosine` for vectors, `kl` for logits.
        device: `auto` takes CUDA where there is one.
        curriculum: whether the temperature changes by stage.
        curriculum_stages: how many stages.
        curriculum_tau_schedule: temperature of the first and of the last.
        batch_size: rows of a step; a relational loss needs at least 3.
        learning_rate: of the optimizer (1e-3 suits a linear student better than the documented 1e-4).
        max_epochs: passes over the data.
        save_dir: folder of checkpoints.
        save_every: epochs between two of them.
        validation_split: share of rows held out.
        early_stopping_patience: epochs without improvement.
        schedule_type: how the temperature goes from first to last (the document's configuration knew `linear` alone).
    """

    teacher_checkpoint: str | None = None
    teacher_dim: int = 1536
    student_dim: int = 5
    tau: float = 1.0
    alpha: float = 0.5
    loss_type: LossType = "cosine"
    device: Device = "cpu"
    curriculum: bool = False
    curriculum_stages: int = 3
    curriculum_tau_schedule: tuple[float, float] = (3.0, 0.5)
    batch_size: int = 32
    learning_rate: float = 1e-4
    max_epochs: int = 100
    save_dir: str = "checkpoints"
    save_every: int = 10
    validation_split: float = 0.1
    early_stopping_patience: int = 5
    schedule_type: ScheduleType = "linear"

    def __post_init__(self) -> None:
        # JSON knows no tuples, and a configuration read back from it must equal the one written
        object.__setattr__(self, "curriculum_tau_schedule", tuple(self.curriculum_tau_schedule))
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha must be in [0, 1], got {self.alpha}")
        if not self.tau > 0:
            raise InputError(f"tau must be positive, got {self.tau}")
        for name, known in (("loss_type", LossType), ("device", Device)):
            if getattr(self, name) not in get_args(known):
                words = " or ".join(repr(word) for word in get_args(known))
                raise InputError(f"{name} must be {words}, got {getattr(self, name)}")
        for name in ("teacher_dim", "student_dim", "batch_size", "learning_rate", "max_epochs", "save_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0.0 <= self.validation_split < 1.0:
            raise InputError(f"validation_split must be in [0, 1), got {self.validation_split}")
        if self.early_stopping_patience < 0:
            raise InputError(f"early_stopping_patience must be at least 0, got {self.early_stopping_patience}")
        if self.curriculum:
            self._check_curriculum()

    def _check_curriculum(self) -> None:
        if self.curriculum_stages < 1:
            raise InputError(f"curriculum_stages must be at least 1, got {self.curriculum_stages}")
        if len(self.curriculum_tau_schedule) != 2:
            raise InputError(
                f"curriculum_tau_schedule must be (start, end), got {len(self.curriculum_tau_schedule)} numbers"
            )
        self.get_tau_for_stage(0)  # judges start, end and type

    def get_tau_for_stage(self, stage: int) -> float:
        """The temperature of a stage: `tau` without a curriculum; a stage beyond the ends has the temperature of the end.

        Example:
            >>> [f"{CURRICULUM_CONFIG.get_tau_for_stage(stage):.2f}" for stage in range(5)]
            ['4.00', '3.12', '2.25', '1.38', '0.50']
        """
        if not self.curriculum:
            return self.tau
        start, end = self.curriculum_tau_schedule
        return create_curriculum_schedule(start, end, self.curriculum_stages, self.schedule_type)(stage)

    def replace(self, **changes: Any) -> DistillationConfig:
        """A copy with some settings changed; the original stays.

        Example:
            >>> FAST_CONFIG.replace(tau=2.0).tau, FAST_CONFIG.tau
            (2.0, 0.5)
        """
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> DistillationConfig:
        """The configuration again, also from JSON, which has lists for tuples.

        Raises:
            TypeError: an unknown name.
        """
        return cls(**config_dict)


DEFAULT_OPENAI_CONFIG = DistillationConfig()
"""1536 -> 5, tau 1, no curriculum."""

CURRICULUM_CONFIG = DistillationConfig(
    tau=2.0, alpha=0.7, curriculum=True, curriculum_stages=5, curriculum_tau_schedule=(4.0, 0.5)
)
"""Five stages from tau 4 to 0.5 (`tau` itself is not read); no better than one temperature where that was measured."""

FAST_CONFIG = DistillationConfig(tau=0.5, batch_size=64, max_epochs=20)
"""Fewer epochs of LARGER batches (64 against 32; smaller in the document)."""
