"""The teacher's scores at every time step of a student that has them (spiking networks).

Shapes: B batch, T time steps, D width, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl, label_cross_entropy
from stillhouse.losses.softened import wide
from stillhouse.signals.base import Signal, SignalBase, check_classes, feature_shape

BATCH_AXIS = {"btd": 0, "tbd": 1, "bdt": 0}
TIME_AXIS = {"btd": 1, "tbd": 0, "bdt": 2}


@configclass
class TimeStepsConfig(SignalBase):
    """Teach each time step, not the mean over them alone: mean over t of T^2 KL(teacher || scores at t).

    The mean of the scores may be right while single steps are wrong and cancel; a network whose every step is taught can be
    read after fewer of them. By convexity the loss is never below the same KL of the mean scores. `label_weight` adds the
    labels' cross-entropy of each step, `own_weight` the KL from the student's own mean over the steps, held fixed. Where what
    is tapped are no class scores, `read: linear` learns one read-out for all steps, dropped with the teacher.

    Source: Yu et al. 2025, arXiv:2501.15925 (logit-based distillation at every time step); labels a step: Deng et al. 2022,
    arXiv:2202.11946 (TET).
    """

    kind: Literal["time-steps"] = "time-steps"
    student: str = Field(
        min_length=1, description="path of the student's sub-module that puts out something each time step"
    )
    layout: Literal["btd", "tbd", "bdt"] = Field(
        default="btd", description="its axes: b batch, t time, d the class scores or features"
    )
    read: Literal["scores", "linear"] = Field(
        default="scores", description="scores: it puts out class scores; linear: one learned read-out for all steps"
    )
    temperature: float = Field(default=2.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    label_weight: float = Field(default=0.0, ge=0, description="weight of the labels' cross-entropy at each step")
    own_weight: float = Field(default=0.0, ge=0, description="weight of the KL from the student's mean over the steps")

    @property
    def reads_labels(self) -> bool:
        """Where they have a weight."""
        return self.label_weight > 0


class TimeStepSignal(Signal, of=TimeStepsConfig):
    """Mean over time steps of the distance to the teacher's scores; (B,) unweighted.

    Raises:
        InputError: unlike class counts, a path that is not there, no time axis, or scores of another number than the classes.
    """

    def __init__(self, config: TimeStepsConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or f"time-steps:{config.student}", config.weight)
        self.config = config
        check_classes(self.name, student, teacher)
        shape = feature_shape("student", config.student, student)
        if len(shape) != 2:
            raise InputError(
                f"student feature {config.student!r}: expected (T, D) a sample, got {shape}; pool it first"
            )
        width = shape[0] if config.layout == "bdt" else shape[1]
        if config.read == "scores" and width != student.num_classes:
            raise InputError(
                f"student feature {config.student!r}: expected {student.num_classes} class scores a time step, got {width} in "
                f"layout {config.layout}; take read: linear"
            )
        self.reader: nn.Module = nn.Identity()
        if config.read == "linear":
            self.reader = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, student.num_classes))

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        config, scores = self.config, self._scores(student_out)
        rows, steps, _ = scores.shape
        each, teacher = scores.flatten(0, 1), teacher_out.logits.detach()

        def mean(values: Tensor) -> Tensor:
            return values.reshape(rows, steps).mean(dim=1)

        loss = mean(forward_kl(each, teacher.repeat_interleave(steps, 0), temperature=config.temperature))
        if config.label_weight > 0:
            labels = label_cross_entropy(each, batch.targets.repeat_interleave(steps, 0))
            loss = loss + config.label_weight * mean(labels)
        if config.own_weight > 0:
            own = scores.detach().mean(dim=1).repeat_interleave(steps, 0)
            loss = loss + config.own_weight * mean(forward_kl(each, own, temperature=config.temperature))
        return loss

    def exit_logits(self, student_out: Outputs) -> dict[str, Tensor]:
        """Logits (B, K) of the mean over the first t steps, by path and t: what the student answers if it is stopped there."""
        sums = self._scores(student_out).cumsum(dim=1)
        return {f"{self.config.student}@{t + 1}": sums[:, t] / (t + 1) for t in range(sums.shape[1])}

    def _scores(self, student_out: Outputs) -> Tensor:
        """(B, T, K)."""
        x = wide(student_out.features[self.config.student])
        axes = (BATCH_AXIS[self.config.layout], TIME_AXIS[self.config.layout])
        found: Tensor = self.reader(torch.movedim(x, axes, (0, 1)))
        return found
