"""A teacher that begins near the student and goes to the teacher as fast as the student follows (TAID).

Shapes: B batch, K classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from stillhouse.core.config import configclass
from stillhouse.core.processes import together
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses import forward_kl
from stillhouse.signals.base import Signal, SignalBase, check_classes

NEVER = -1.0  # no step was taken, no loss was seen


@configclass
class TaidConfig(SignalBase):
    """KL to a teacher in between: softmax of (1 - t) student scores, held fixed, + t teacher scores.

    t goes from `start` to `end`. It is at least on the straight line between them, and ahead of it as far as the student
    follows: each step adds rate * sigmoid(m) * (1 - share of the run done), m being the moving average (`memory`) of the
    loss's relative fall from step to step. So a far teacher never teaches what the student cannot reach yet, and the mode of
    a narrow student does not collapse. `adaptive: false` is the control: the line alone.

    Source: Shing et al. 2025, arXiv:2501.16937 (TAID), algorithm 1; start 0.4, rate 5e-4 and memory 0.99 as published.
    """

    kind: Literal["taid"] = "taid"
    temperature: float = Field(default=1.0, gt=0, description="softens both sides; the loss is multiplied by T^2")
    start: float = Field(default=0.4, gt=0, lt=1, description="share of the teacher's scores at the start")
    end: float = Field(default=1.0, gt=0, le=1, description="share at the end; 1 is the teacher itself")
    rate: float = Field(default=5e-4, ge=0, le=1, description="most that a step adds to the share")
    memory: float = Field(default=0.99, ge=0, lt=1, description="of the moving average of the loss's relative fall")
    adaptive: bool = Field(default=True, description="run ahead of the straight line while the student follows")

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"start: expected below end ({self.end}), got {self.start}")
        if self.adaptive and self.rate == 0:
            raise ValueError("rate: 0 adds nothing; take adaptive: false")


class TaidSignal(Signal, of=TaidConfig):
    """KL to the teacher in between; (B,) unweighted.

    Raises:
        InputError: unlike class counts, or a teacher of which only the largest scores are kept.
    """

    state: Tensor

    def __init__(self, config: TaidConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__(config.name or "taid", config.weight)
        self.config = config
        check_classes(self.name, student, teacher)
        # travels with a checkpoint: share, loss of the step before, moving average; step, sum and number of its losses so far
        self.register_buffer("state", torch.tensor([config.start, NEVER, 0.0, NEVER, 0.0, 0.0]))

    def forward(self, student_out: Outputs, teacher_out: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) loss of each sample."""
        share = self._share(progress)
        student, teacher = student_out.logits, teacher_out.logits.detach()
        between = (1 - share) * student.detach() + share * teacher
        loss = forward_kl(student, between, temperature=self.config.temperature)
        self.state[4] += loss.detach().float().sum()
        self.state[5] += len(loss)
        return loss

    def figures(self) -> dict[str, float]:
        """The teacher's share, once a step was taken."""
        share, *_, step, _, _ = self.state.tolist()
        return {} if step == NEVER else {"share": share}

    def _share(self, progress: Progress) -> float:
        """t of this step; it moves once a step, by the losses of all micro-batches and processes of the step before."""
        share, previous, average, step, total, count = self.state.tolist()
        if step == progress.step:
            return share
        config = self.config
        if step != NEVER and config.adaptive:
            parts = together((total, count))
            loss = sum(part[0] for part in parts) / max(1.0, sum(part[1] for part in parts))
            if previous != NEVER and math.isfinite(loss):
                fall = (previous - loss) / (previous + 1e-15)
                average = config.memory * average + (1 - config.memory) * fall
                share += config.rate / (1 + math.exp(-max(-60.0, min(60.0, average)))) * (1 - progress.fraction)
            previous = loss if math.isfinite(loss) else previous
        line = config.start + (config.end - config.start) * progress.fraction
        share = min(config.end, max(share, line))
        self.state.copy_(torch.tensor([share, previous, average, progress.step, 0.0, 0.0]))
        return share
